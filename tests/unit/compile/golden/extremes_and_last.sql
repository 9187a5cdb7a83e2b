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
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_7d,
    min(`amount`) AS `user_min_7d:min`,
    max(`word`) AS `user_max_7d:max`,
    max(CASE WHEN `word` IS NOT NULL AND (`n` > 0L) THEN struct(_at AS at, `word` AS value) END) AS `user_last_7d:last`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_min_7d:min`,
    `user_max_7d:max`,
    `user_last_7d:last`
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
    first(CASE WHEN enters THEN `user_min_7d:min` END, TRUE) AS `user_min_7d:min`,
    first(CASE WHEN enters THEN `user_max_7d:max` END, TRUE) AS `user_max_7d:max`,
    first(CASE WHEN enters THEN `user_last_7d:last` END, TRUE) AS `user_last_7d:last`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    min(`user_min_7d:min`) OVER last_7d AS `user_min_7d`,
    max(`user_max_7d:max`) OVER last_7d AS `user_max_7d`,
    (max(`user_last_7d:last`) OVER last_7d).value AS `user_last_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_min_7d` AS `user_min_7d`,
    `user_max_7d` AS `user_max_7d`,
    `user_last_7d` AS `user_last_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_min_7d`,
  `user_max_7d`,
  `user_last_7d`
FROM vectors
