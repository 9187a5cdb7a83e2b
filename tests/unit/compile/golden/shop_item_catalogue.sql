WITH grid AS (
  SELECT t, timestamp_micros(t) AS as_of
  FROM (
    SELECT explode(sequence(1728003600000000L, 1729728000000000L, 3600000000L)) AS t
  )
),
`products` AS (
  WITH cleaned AS (
    SELECT `product_id`,
      `category`,
      CASE WHEN abs(`price`) < double('Infinity') THEN `price` + 0D END AS `price`,
      `listed_at`,
      unix_micros(`listed_at`) AS _at
    FROM `products`
    WHERE `listed_at` < timestamp_micros(1729728000000000)
  )
  SELECT cleaned.* EXCEPT (_at), grid.as_of
  FROM grid JOIN cleaned ON cleaned._at < grid.t
),
answers AS (
  SELECT product_id, PERCENT_RANK() OVER (PARTITION BY category, products.as_of ORDER BY price) AS item_price_percentile, CAST(FLOOR((UNIX_SECONDS(products.as_of) - UNIX_SECONDS(listed_at)) / 86400) AS BIGINT) AS item_listed_days, products.as_of AS as_of FROM products
),
vectors AS (
  SELECT `product_id`,
    unix_micros(as_of) AS t,
    CASE WHEN abs(CAST(`item_price_percentile` AS double)) < double('Infinity') THEN CAST(`item_price_percentile` AS double) + 0D END AS `item_price_percentile`,
    CAST(`item_listed_days` AS bigint) AS `item_listed_days`
  FROM answers
  WHERE `product_id` IS NOT NULL
)
SELECT `product_id`,
  timestamp_micros(t) AS feature_timestamp,
  `item_price_percentile`,
  `item_listed_days`
FROM vectors
