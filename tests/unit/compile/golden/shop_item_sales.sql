WITH cleaned AS (
  SELECT `order_id`,
    `user_id`,
    `product_id`,
    `status`,
    CASE WHEN abs(`amount`) < double('Infinity') THEN `amount` + 0D END AS `amount`,
    `quantity`,
    `event_ts`,
    unix_micros(`event_ts`) AS _at
  FROM `order_events`
  WHERE `product_id` IS NOT NULL
    AND `event_ts` >= timestamp_micros(1727395200000000)
    AND `event_ts` < timestamp_micros(1729728000000000)
),
events AS (
  SELECT *
  FROM cleaned
  WHERE (`status` = 'completed')
),
tiles AS (
  SELECT `product_id`,
    _at - pmod(_at, 3600000000L) + 3600000000L AS tile_end,
    count_if(TRUE) AS hits_7d,
    count(1) AS `item_purchase_count_7d:n`
  FROM events
  WHERE TRUE
  GROUP BY `product_id`, _at - pmod(_at, 3600000000L) + 3600000000L
),
moves AS (
  SELECT `product_id`,
    move.t,
    move.enters,
    `item_purchase_count_7d:n`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_7d > 0 AND tile_end + 604800000000L > 1728000000000000 THEN struct(tile_end + 604800000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `product_id`,
    t,
    first(CASE WHEN enters THEN `item_purchase_count_7d:n` END, TRUE) AS `item_purchase_count_7d:n`
  FROM moves
  GROUP BY `product_id`, t
),
frames AS (
  SELECT `product_id`,
    t,
    coalesce(sum(`item_purchase_count_7d:n`) OVER last_7d, 0L) AS `item_purchase_count_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `product_id` ORDER BY t RANGE BETWEEN 601200000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `product_id`,
    t,
    `item_purchase_count_7d` AS `item_purchase_count_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `product_id`,
  timestamp_micros(t) AS feature_timestamp,
  `item_purchase_count_7d`
FROM vectors
