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
    count_if(TRUE) AS hits_7d,
    count(1) AS `pair_n_7d:n`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, `n`, _at - pmod(_at, 86400000000L) + 86400000000L
),
grid AS (
  SELECT `user_id`, `n`, explode(sequence(greatest(min(tile_end), 1728086400000000L), 1729728000000000L, 86400000000L)) AS t
  FROM tiles
  GROUP BY `user_id`, `n`
),
points AS (
  SELECT `user_id`, `n`,
    t,
    first(`pair_n_7d:n`, TRUE) AS `pair_n_7d:n`
  FROM (
    SELECT `user_id`, `n`, tile_end AS t, `pair_n_7d:n` FROM tiles
    UNION ALL SELECT `user_id`, `n`, t, NULL AS `pair_n_7d:n` FROM grid
  )
  GROUP BY `user_id`, `n`, t
),
frames AS (
  SELECT `user_id`, `n`,
    t,
    coalesce(sum(`pair_n_7d:n`) OVER last_7d, 0L) AS `pair_n_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `user_id`, `n` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`, `n`,
    t,
    `pair_n_7d` AS `pair_n_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  `n`,
  timestamp_micros(t) AS feature_timestamp,
  `pair_n_7d`
FROM vectors
