WITH grid AS (
  SELECT t, timestamp_micros(t) AS as_of
  FROM (
    SELECT explode(sequence(1728086400000000L, 1729728000000000L, 86400000000L)) AS t
  )
),
`users` AS (
  WITH cleaned AS (
    SELECT `user_id`,
      `country`,
      `signed_up_at`,
      unix_micros(`signed_up_at`) AS _at
    FROM `users`
    WHERE `signed_up_at` < timestamp_micros(1729728000000000)
  )
  SELECT cleaned.* EXCEPT (_at), grid.as_of
  FROM grid JOIN cleaned ON cleaned._at < grid.t
),
answers AS (
  SELECT user_id, CAST(FLOOR((UNIX_SECONDS(users.as_of) - UNIX_SECONDS(signed_up_at)) / 86400) AS BIGINT) AS user_account_age_days, users.as_of AS as_of FROM users
),
vectors AS (
  SELECT `user_id`,
    unix_micros(as_of) AS t,
    CAST(`user_account_age_days` AS bigint) AS `user_account_age_days`
  FROM answers
  WHERE `user_id` IS NOT NULL
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_account_age_days`
FROM vectors
