WITH tiles AS (
  SELECT `user_id`,
    tile_end,
    `tile:0` AS hits_7d,
    `tile:1` AS `user_min_7d:min`,
    `tile:2` AS `user_max_7d:max`,
    `tile:3` AS `user_last_7d:last`
  FROM `shared`
  WHERE tile_end > 1727395200000000 AND (`tile:0` > 0)
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
