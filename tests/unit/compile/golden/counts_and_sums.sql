WITH cleaned AS (
  SELECT * EXCEPT (_before)
  FROM (
    SELECT *, lag(_at) OVER (PARTITION BY `user_id`, `id` ORDER BY _at, `user_id`, `id`, `amount`, `n`, `word`, `ok`) AS _before
    FROM (
      SELECT `user_id`,
        `id`,
        CASE WHEN abs(`amount`) < double('Infinity') THEN `amount` + 0D END AS `amount`,
        `n`,
        `word`,
        `ok`,
        `ts`,
        unix_micros(`ts`) AS _at
      FROM `clicks`
      WHERE `user_id` IS NOT NULL
        AND `ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
),
events AS (
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_1d,
    count_if(TRUE) AS hits_7d,
    count_if(TRUE) AS hits_all_time,
    count(1) AS `user_n_7d:n`,
    count(CASE WHEN `ok` THEN `word` END) AS `user_words_7d:n`,
    sum(`amount`) AS `user_amount_1d:sum`,
    sum(CAST(`amount` AS DOUBLE)) AS `user_amount_all_time:sum`,
    count(`amount`) AS `user_amount_all_time:n`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_n_7d:n`,
    `user_words_7d:n`,
    `user_amount_1d:sum`,
    `user_amount_all_time:sum`,
    `user_amount_all_time:n`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_1d > 0 AND tile_end + 86400000000L > 1728000000000000 THEN struct(tile_end + 86400000000L AS t, FALSE AS enters) END,
      CASE WHEN hits_7d > 0 AND tile_end + 604800000000L > 1728000000000000 THEN struct(tile_end + 604800000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_n_7d:n` END, TRUE) AS `user_n_7d:n`,
    first(CASE WHEN enters THEN `user_words_7d:n` END, TRUE) AS `user_words_7d:n`,
    first(CASE WHEN enters THEN `user_amount_1d:sum` END, TRUE) AS `user_amount_1d:sum`,
    first(CASE WHEN enters THEN `user_amount_all_time:sum` END, TRUE) AS `user_amount_all_time:sum`,
    first(CASE WHEN enters THEN `user_amount_all_time:n` END, TRUE) AS `user_amount_all_time:n`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_n_7d:n`) OVER last_7d, 0L) AS `user_n_7d`,
    coalesce(sum(`user_words_7d:n`) OVER last_7d, 0L) AS `user_words_7d`,
    CASE WHEN abs(coalesce(sum(`user_amount_1d:sum`) OVER last_1d, 0D)) < double('Infinity') THEN coalesce(sum(`user_amount_1d:sum`) OVER last_1d, 0D) + 0D END AS `user_amount_1d`,
    CASE WHEN abs((sum(`user_amount_all_time:sum`) OVER last_all_time / nullif(sum(`user_amount_all_time:n`) OVER last_all_time, 0L))) < double('Infinity') THEN (sum(`user_amount_all_time:sum`) OVER last_all_time / nullif(sum(`user_amount_all_time:n`) OVER last_all_time, 0L)) + 0D END AS `user_amount_all_time`
  FROM points
  WINDOW last_1d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 0L PRECEDING AND CURRENT ROW),
    last_7d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW),
    last_all_time AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_n_7d` AS `user_n_7d`,
    `user_words_7d` AS `user_words_7d`,
    `user_amount_1d` AS `user_amount_1d`,
    `user_amount_all_time` AS `user_amount_all_time`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_n_7d`,
  `user_words_7d`,
  `user_amount_1d`,
  `user_amount_all_time`
FROM vectors
