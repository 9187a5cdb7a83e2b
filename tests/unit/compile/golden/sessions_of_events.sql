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
    count_if((`n` > 0L)) AS hits_1d,
    count_if(`ok`) AS hits_30d,
    count(CASE WHEN (`n` > 0L) THEN 1 END) AS `user_session_n:n`,
    max(CASE WHEN `ok` THEN `word` END) AS `user_max_30d:max`,
    min(CASE WHEN (`n` > 0L) THEN _at END) AS `session_1d_1:first`,
    max(CASE WHEN (`n` > 0L) THEN _at END) AS `session_1d_1:last`
  FROM events
  WHERE (`n` > 0L) OR `ok`
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_session_n:n`,
    `user_max_30d:max`,
    `session_1d_1:first`,
    `session_1d_1:last`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_1d > 0 AND tile_end + 86400000000L > 1728000000000000 THEN struct(tile_end + 86400000000L AS t, FALSE AS enters) END,
      CASE WHEN hits_30d > 0 AND tile_end + 2592000000000L > 1728000000000000 THEN struct(tile_end + 2592000000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_session_n:n` END, TRUE) AS `user_session_n:n`,
    first(CASE WHEN enters THEN `user_max_30d:max` END, TRUE) AS `user_max_30d:max`,
    first(CASE WHEN enters THEN `session_1d_1:first` END, TRUE) AS `session_1d_1:first`,
    first(CASE WHEN enters THEN `session_1d_1:last` END, TRUE) AS `session_1d_1:last`
  FROM moves
  GROUP BY `user_id`, t
),
sessions AS (
  SELECT *,
    CASE WHEN t - max(`session_1d_1:last`) OVER so_far <= 86400000000L THEN count_if(`session_1d_1:begins`) OVER so_far END AS session_1d_1
  FROM (
    SELECT *,
      `session_1d_1:first` IS NOT NULL AND coalesce(`session_1d_1:first` - max(`session_1d_1:last`) OVER earlier > 86400000000L, TRUE) AS `session_1d_1:begins`
    FROM points
    WINDOW earlier AS (PARTITION BY `user_id` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  )
  WINDOW so_far AS (PARTITION BY `user_id` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_session_n:n`) OVER of_session_1d_1, 0L) AS `user_session_n`,
    max(`user_max_30d:max`) OVER last_30d AS `user_max_30d`
  FROM sessions
  WINDOW last_30d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 2505600000000L PRECEDING AND CURRENT ROW),
    of_session_1d_1 AS (PARTITION BY `user_id`, session_1d_1 ORDER BY t)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_session_n` AS `user_session_n`,
    `user_max_30d` AS `user_max_30d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_session_n`,
  `user_max_30d`
FROM vectors
