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
  WITH totals AS (SELECT word, SUM(amount) AS total, clicks.as_of AS as_of FROM clicks GROUP BY word, clicks.as_of) SELECT c.user_id, SUM(c.amount) / MAX(t.total) AS user_share, c.as_of AS as_of FROM clicks AS c JOIN totals AS t ON t.word = c.word AND c.as_of = t.as_of GROUP BY c.user_id, c.as_of
),
vectors AS (
  SELECT `user_id`,
    unix_micros(as_of) AS t,
    CASE WHEN abs(CAST(`user_share` AS double)) < double('Infinity') THEN CAST(`user_share` AS double) + 0D END AS `user_share`
  FROM answers
  WHERE `user_id` IS NOT NULL
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_share`
FROM vectors
