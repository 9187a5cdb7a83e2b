WITH cleaned AS (
  SELECT * EXCEPT (_before)
  FROM (
    SELECT *, lag(_at) OVER (PARTITION BY `user_id`, `n`, `id` ORDER BY _at, `user_id`, `id`, `amount`, `n`, `word`, `ok`) AS _before
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
        AND `n` IS NOT NULL
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
  SELECT `user_id`, `n`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_1d,
    count_if(TRUE) AS hits_7d,
    count(1) AS `pair_n_7d:n`,
    min(_at) AS `session_1d_1:first`,
    max(_at) AS `session_1d_1:last`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, `n`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`, `n`,
    move.t,
    move.enters,
    `pair_n_7d:n`,
    `session_1d_1:first`,
    `session_1d_1:last`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_1d > 0 AND tile_end + 86400000000L > 1728000000000000 THEN struct(tile_end + 86400000000L AS t, FALSE AS enters) END,
      CASE WHEN hits_7d > 0 AND tile_end + 604800000000L > 1728000000000000 THEN struct(tile_end + 604800000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`, `n`,
    t,
    first(CASE WHEN enters THEN `pair_n_7d:n` END, TRUE) AS `pair_n_7d:n`,
    first(CASE WHEN enters THEN `session_1d_1:first` END, TRUE) AS `session_1d_1:first`,
    first(CASE WHEN enters THEN `session_1d_1:last` END, TRUE) AS `session_1d_1:last`
  FROM moves
  GROUP BY `user_id`, `n`, t
),
sessions AS (
  SELECT *,
    CASE WHEN t - max(`session_1d_1:last`) OVER so_far <= 86400000000L THEN count_if(`session_1d_1:begins`) OVER so_far END AS session_1d_1
  FROM (
    SELECT *,
      `session_1d_1:first` IS NOT NULL AND coalesce(`session_1d_1:first` - max(`session_1d_1:last`) OVER earlier > 86400000000L, TRUE) AS `session_1d_1:begins`
    FROM points
    WINDOW earlier AS (PARTITION BY `user_id`, `n` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  )
  WINDOW so_far AS (PARTITION BY `user_id`, `n` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
frames AS (
  SELECT `user_id`, `n`,
    t,
    coalesce(sum(`pair_n_7d:n`) OVER last_7d, 0L) AS `pair_n_7d`,
    coalesce(sum(`pair_n_7d:n`) OVER of_session_1d_1, 0L) AS `pair_session_n`
  FROM sessions
  WINDOW last_7d AS (PARTITION BY `user_id`, `n` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW),
    of_session_1d_1 AS (PARTITION BY `user_id`, `n`, session_1d_1 ORDER BY t)
),
vectors AS (
  SELECT `user_id`, `n`,
    t,
    `pair_n_7d` AS `pair_n_7d`,
    `pair_session_n` AS `pair_session_n`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  `n`,
  timestamp_micros(t) AS feature_timestamp,
  `pair_n_7d`,
  `pair_session_n`
FROM vectors
