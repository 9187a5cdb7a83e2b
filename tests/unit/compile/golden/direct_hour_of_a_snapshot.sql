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
        AND `ts` < timestamp_micros(1728003600000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
),
events AS (
  SELECT *
  FROM cleaned
),
instants AS (
  SELECT *, 1728003600000000L AS _t
  FROM events
  WHERE TRUE
),
points AS (
  SELECT `user_id`,
    _t AS t,
    count(CASE WHEN _at >= _t - 3600000000L THEN 1 END) AS `user_n_1h:n`
  FROM instants
  GROUP BY `user_id`, _t
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_n_1h:n`) OVER whole, 0L) AS `user_n_1h`
  FROM points
  WINDOW whole AS (PARTITION BY `user_id`, t)
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
