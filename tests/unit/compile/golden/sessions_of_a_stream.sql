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
      FROM `clicks_log`
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
    _at - pmod(_at, 1000000L) + 1000000L AS tile_end,
    count_if(`ok`) AS hits_5m,
    count_if(TRUE) AS hits_30m,
    count(1) AS `user_session_n:n`,
    min(CASE WHEN `word` IS NOT NULL THEN struct(_at AS at, `word` AS value) END) AS `user_session_first:first`,
    sum(CASE WHEN `ok` THEN `amount` END) AS `user_session_amount:sum`,
    min(_at) AS `session_30m_1:first`,
    max(_at) AS `session_30m_1:last`,
    min(CASE WHEN `ok` THEN _at END) AS `session_5m_2:first`,
    max(CASE WHEN `ok` THEN _at END) AS `session_5m_2:last`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 1000000L) + 1000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_session_n:n`,
    `user_session_first:first`,
    `user_session_amount:sum`,
    `session_30m_1:first`,
    `session_30m_1:last`,
    `session_5m_2:first`,
    `session_5m_2:last`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_5m > 0 AND tile_end + 300000000L > 1728000000000000 THEN struct(tile_end + 300000000L AS t, FALSE AS enters) END,
      CASE WHEN hits_30m > 0 AND tile_end + 1800000000L > 1728000000000000 THEN struct(tile_end + 1800000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_session_n:n` END, TRUE) AS `user_session_n:n`,
    first(CASE WHEN enters THEN `user_session_first:first` END, TRUE) AS `user_session_first:first`,
    first(CASE WHEN enters THEN `user_session_amount:sum` END, TRUE) AS `user_session_amount:sum`,
    first(CASE WHEN enters THEN `session_30m_1:first` END, TRUE) AS `session_30m_1:first`,
    first(CASE WHEN enters THEN `session_30m_1:last` END, TRUE) AS `session_30m_1:last`,
    first(CASE WHEN enters THEN `session_5m_2:first` END, TRUE) AS `session_5m_2:first`,
    first(CASE WHEN enters THEN `session_5m_2:last` END, TRUE) AS `session_5m_2:last`
  FROM moves
  GROUP BY `user_id`, t
),
sessions AS (
  SELECT *,
    CASE WHEN t - max(`session_30m_1:last`) OVER so_far <= 1800000000L THEN count_if(`session_30m_1:begins`) OVER so_far END AS session_30m_1,
    CASE WHEN t - max(`session_5m_2:last`) OVER so_far <= 300000000L THEN count_if(`session_5m_2:begins`) OVER so_far END AS session_5m_2
  FROM (
    SELECT *,
      `session_30m_1:first` IS NOT NULL AND coalesce(`session_30m_1:first` - max(`session_30m_1:last`) OVER earlier > 1800000000L, TRUE) AS `session_30m_1:begins`,
      `session_5m_2:first` IS NOT NULL AND coalesce(`session_5m_2:first` - max(`session_5m_2:last`) OVER earlier > 300000000L, TRUE) AS `session_5m_2:begins`
    FROM points
    WINDOW earlier AS (PARTITION BY `user_id` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  )
  WINDOW so_far AS (PARTITION BY `user_id` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_session_n:n`) OVER of_session_30m_1, 0L) AS `user_session_n`,
    (min(`user_session_first:first`) OVER of_session_30m_1).value AS `user_session_first`,
    CASE WHEN abs(coalesce(sum(`user_session_amount:sum`) OVER of_session_5m_2, 0D)) < double('Infinity') THEN coalesce(sum(`user_session_amount:sum`) OVER of_session_5m_2, 0D) + 0D END AS `user_session_amount`,
    coalesce(sum(`user_session_n:n`) OVER last_30m, 0L) AS `user_n_30m`
  FROM sessions
  WINDOW last_30m AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 1799000000L PRECEDING AND CURRENT ROW),
    of_session_30m_1 AS (PARTITION BY `user_id`, session_30m_1 ORDER BY t),
    of_session_5m_2 AS (PARTITION BY `user_id`, session_5m_2 ORDER BY t)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_session_n` AS `user_session_n`,
    `user_session_first` AS `user_session_first`,
    `user_session_amount` AS `user_session_amount`,
    `user_n_30m` AS `user_n_30m`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_session_n`,
  `user_session_first`,
  `user_session_amount`,
  `user_n_30m`
FROM vectors
