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
  SELECT * EXCEPT (_newest) FROM (
    SELECT cleaned.* EXCEPT (_at), grid.as_of,
      row_number() OVER (PARTITION BY `user_id`, `word`, grid.t ORDER BY _at DESC, `id` DESC) AS _newest
    FROM grid JOIN cleaned ON cleaned._at < grid.t
      AND `user_id` IS NOT NULL
      AND `word` IS NOT NULL
      AND `id` IS NOT NULL
  )
  WHERE _newest = 1 AND NOT coalesce((`n` < 0L), FALSE)
),
`words` AS (
  WITH cleaned AS (
    SELECT `word`,
      `ts`,
      unix_micros(`ts`) AS _at
    FROM `words`
    WHERE `ts` < timestamp_micros(1729728000000000)
  )
  SELECT * EXCEPT (_newest) FROM (
    SELECT cleaned.* EXCEPT (_at), grid.as_of,
      rank() OVER (PARTITION BY grid.t ORDER BY _at DESC) AS _newest
    FROM grid JOIN cleaned ON cleaned._at < grid.t
  )
  WHERE _newest = 1
),
answers AS (
  SELECT c.user_id, COUNT(*) AS user_n, c.as_of AS as_of FROM clicks AS c JOIN words AS w ON w.word = c.word AND c.as_of = w.as_of GROUP BY c.user_id, c.as_of
),
vectors AS (
  SELECT `user_id`,
    unix_micros(as_of) AS t,
    CAST(`user_n` AS bigint) AS `user_n`
  FROM answers
  WHERE `user_id` IS NOT NULL
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_n`
FROM vectors
