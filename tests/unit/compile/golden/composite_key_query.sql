WITH grid AS (
  SELECT t, timestamp_micros(t) AS as_of
  FROM (
    SELECT explode(sequence(1728086400000000L, 1729728000000000L, 86400000000L)) AS t
  )
),
`clicks` AS (
  WITH cleaned AS (
    SELECT * EXCEPT (_before)
    FROM (
      SELECT *, lag(_at) OVER (PARTITION BY `id` ORDER BY _at, `user_id`, `id`, `amount`, `n`, `word`, `ok`) AS _before
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
        WHERE `ts` < timestamp_micros(1729728000000000)
      )
    )
    WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
  )
  SELECT cleaned.* EXCEPT (_at), grid.as_of
  FROM grid JOIN cleaned ON cleaned._at < grid.t
),
answers AS (
  SELECT user_id, n, SUM(amount) AS pair_total, clicks.as_of AS as_of FROM clicks GROUP BY user_id, n, clicks.as_of
),
vectors AS (
  SELECT `user_id`,
    `n`,
    unix_micros(as_of) AS t,
    CASE WHEN abs(CAST(`pair_total` AS double)) < double('Infinity') THEN CAST(`pair_total` AS double) + 0D END AS `pair_total`
  FROM answers
  WHERE `user_id` IS NOT NULL
    AND `n` IS NOT NULL
)
SELECT `user_id`,
  `n`,
  timestamp_micros(t) AS feature_timestamp,
  `pair_total`
FROM vectors
