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
        AND `ts` >= timestamp_micros(1726790400000000)
        AND `ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
    AND _at >= 1727395200000000
),
events AS (
  SELECT *,
    CASE WHEN (`amount` IS NULL) THEN CAST(NULL AS bigint) WHEN (`amount` < 10.0D) THEN 0L WHEN (`amount` < 100.0D) THEN 1L ELSE 2L END AS `size`
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_7d,
    count(CASE WHEN (`ok` AND (`word` = 'a')) THEN 1 END) AS `user_a_n_7d:n`,
    count(CASE WHEN (`ok` AND (`word` = 'B b')) THEN 1 END) AS `user_b_b_n_7d:n`,
    max(CASE WHEN `word` IS NOT NULL THEN struct(_at AS at, `word` AS value) END) AS `user_last_7d:last`,
    max(`ts`) AS `user_last_at_7d:max`,
    count(CASE WHEN (CAST(hour(`ts`) AS BIGINT) < 6L) THEN 1 END) AS `user_nights_7d:n`,
    sum(shiftright(`size`, 32)) AS `user_large_7d:high`,
    sum(`size` & 4294967295L) AS `user_large_7d:low`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_a_n_7d:n`,
    `user_b_b_n_7d:n`,
    `user_last_7d:last`,
    `user_last_at_7d:max`,
    `user_nights_7d:n`,
    `user_large_7d:high`,
    `user_large_7d:low`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_7d > 0 AND tile_end + 604800000000L > 1728000000000000 THEN struct(tile_end + 604800000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_a_n_7d:n` END, TRUE) AS `user_a_n_7d:n`,
    first(CASE WHEN enters THEN `user_b_b_n_7d:n` END, TRUE) AS `user_b_b_n_7d:n`,
    first(CASE WHEN enters THEN `user_last_7d:last` END, TRUE) AS `user_last_7d:last`,
    first(CASE WHEN enters THEN `user_last_at_7d:max` END, TRUE) AS `user_last_at_7d:max`,
    first(CASE WHEN enters THEN `user_nights_7d:n` END, TRUE) AS `user_nights_7d:n`,
    first(CASE WHEN enters THEN `user_large_7d:high` END, TRUE) AS `user_large_7d:high`,
    first(CASE WHEN enters THEN `user_large_7d:low` END, TRUE) AS `user_large_7d:low`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_a_n_7d:n`) OVER last_7d, 0L) AS `user_a_n_7d`,
    coalesce(sum(`user_b_b_n_7d:n`) OVER last_7d, 0L) AS `user_b_b_n_7d`,
    (max(`user_last_7d:last`) OVER last_7d).value AS `user_last_7d`,
    max(`user_last_at_7d:max`) OVER last_7d AS `user_last_at_7d`,
    coalesce(sum(`user_nights_7d:n`) OVER last_7d, 0L) AS `user_nights_7d`,
    struct(sum(`user_large_7d:high`) OVER last_7d AS high, sum(`user_large_7d:low`) OVER last_7d AS low) AS `user_large_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_a_n_7d` AS `user_a_n_7d`,
    `user_b_b_n_7d` AS `user_b_b_n_7d`,
    `user_last_7d` AS `user_last_7d`,
    `user_last_at_7d` AS `user_last_at_7d`,
    `user_nights_7d` AS `user_nights_7d`,
    CASE WHEN `user_large_7d`.high IS NULL THEN 0L WHEN (`user_large_7d`.high + shiftright(`user_large_7d`.low, 32)) BETWEEN -2147483648L AND 2147483647L THEN shiftleft((`user_large_7d`.high + shiftright(`user_large_7d`.low, 32)), 32) | (`user_large_7d`.low & 4294967295L) END AS `user_large_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_a_n_7d`,
  `user_b_b_n_7d`,
  `user_last_7d`,
  `user_last_at_7d`,
  `user_nights_7d`,
  `user_large_7d`,
  CASE WHEN (`user_last_7d` IS NULL) THEN CAST(NULL AS bigint) WHEN (`user_last_7d` = 'a') THEN 1L ELSE 0L END AS `user_last_7d_is_a`,
  CASE WHEN (`user_last_7d` IS NULL) THEN CAST(NULL AS bigint) WHEN (`user_last_7d` = 'B b') THEN 1L ELSE 0L END AS `user_last_7d_is_b_b`,
  CAST(weekday(`user_last_at_7d`) + 1 AS BIGINT) AS `user_last_weekday`,
  CASE WHEN abs((CAST(try_subtract(unix_micros(`user_last_at_7d`), unix_micros(timestamp_micros(1767225600000000))) AS DOUBLE) / nullif(86400000000.0D, 0D))) < double('Infinity') THEN (CAST(try_subtract(unix_micros(`user_last_at_7d`), unix_micros(timestamp_micros(1767225600000000))) AS DOUBLE) / nullif(86400000000.0D, 0D)) + 0D END AS `user_days_old`
FROM vectors
