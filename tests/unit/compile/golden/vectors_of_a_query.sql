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
  SELECT user_id, ARRAY(0.0, 1.0, 2.0) AS user_taste, ARRAY(1.0, 1.0, 1.0) AS user_style, clicks.as_of AS as_of FROM clicks
),
vectors AS (
  SELECT `user_id`,
    unix_micros(as_of) AS t,
    CASE WHEN forall(CAST(`user_taste` AS array<float>), x -> coalesce(abs(x) < double('Infinity'), FALSE)) THEN CAST(`user_taste` AS array<float>) END AS `user_taste`,
    CASE WHEN forall(CAST(`user_style` AS array<float>), x -> coalesce(abs(x) < double('Infinity'), FALSE)) THEN CAST(`user_style` AS array<float>) END AS `user_style`
  FROM answers
  WHERE `user_id` IS NOT NULL
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_taste`,
  `user_style`,
  CASE WHEN abs((aggregate(zip_with(`user_taste`, `user_style`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p) / nullif((sqrt(aggregate(zip_with(`user_taste`, `user_taste`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p)) * sqrt(aggregate(zip_with(`user_style`, `user_style`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p))), 0D))) < double('Infinity') THEN (aggregate(zip_with(`user_taste`, `user_style`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p) / nullif((sqrt(aggregate(zip_with(`user_taste`, `user_taste`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p)) * sqrt(aggregate(zip_with(`user_style`, `user_style`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p))), 0D)) + 0D END AS `user_fit`,
  CASE WHEN abs(sqrt(aggregate(zip_with(`user_taste`, `user_taste`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p))) < double('Infinity') THEN sqrt(aggregate(zip_with(`user_taste`, `user_taste`, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p)) + 0D END AS `user_strength`
FROM vectors
