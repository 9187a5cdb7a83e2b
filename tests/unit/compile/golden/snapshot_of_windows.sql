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
    _at - pmod(_at, 3600000000L) + 3600000000L AS tile_end,
    count_if(TRUE) AS hits_1h,
    count(1) AS `user_n_1h:n`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 3600000000L) + 3600000000L
),
grid AS (
  SELECT `user_id`, explode(sequence(greatest(min(tile_end), 1728003600000000L), 1729728000000000L, 3600000000L)) AS t
  FROM tiles
  GROUP BY `user_id`
),
points AS (
  SELECT `user_id`,
    t,
    first(`user_n_1h:n`, TRUE) AS `user_n_1h:n`
  FROM (
    SELECT `user_id`, tile_end AS t, `user_n_1h:n` FROM tiles
    UNION ALL SELECT `user_id`, t, NULL AS `user_n_1h:n` FROM grid
  )
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_n_1h:n`) OVER last_1h, 0L) AS `user_n_1h`
  FROM points
  WINDOW last_1h AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 0L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_n_1h` AS `user_n_1h`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_n_1h`
FROM vectors
