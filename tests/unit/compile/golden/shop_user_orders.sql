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
  WHERE `user_id` IS NOT NULL
    AND `event_ts` < timestamp_micros(1729728000000000)
),
events AS (
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if((`status` = 'completed')) AS hits_90d,
    count_if((`status` = 'completed') OR (`status` = 'returned')) AS hits_all_time,
    count(CASE WHEN (`status` = 'completed') THEN 1 END) AS `user_order_count_all_time:n`,
    count(CASE WHEN (`status` = 'returned') THEN 1 END) AS `user_return_count_all_time:n`,
    sum(CAST(CASE WHEN (`status` = 'completed') THEN `amount` END AS DOUBLE)) AS `user_order_value_mean_90d:sum`,
    count(CASE WHEN (`status` = 'completed') THEN `amount` END) AS `user_order_value_mean_90d:n`
  FROM events
  WHERE (`status` = 'completed') OR (`status` = 'returned')
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_order_count_all_time:n`,
    `user_return_count_all_time:n`,
    `user_order_value_mean_90d:sum`,
    `user_order_value_mean_90d:n`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_90d > 0 AND tile_end + 7776000000000L > 1728000000000000 THEN struct(tile_end + 7776000000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_order_count_all_time:n` END, TRUE) AS `user_order_count_all_time:n`,
    first(CASE WHEN enters THEN `user_return_count_all_time:n` END, TRUE) AS `user_return_count_all_time:n`,
    first(CASE WHEN enters THEN `user_order_value_mean_90d:sum` END, TRUE) AS `user_order_value_mean_90d:sum`,
    first(CASE WHEN enters THEN `user_order_value_mean_90d:n` END, TRUE) AS `user_order_value_mean_90d:n`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_order_count_all_time:n`) OVER last_all_time, 0L) AS `user_order_count_all_time`,
    coalesce(sum(`user_return_count_all_time:n`) OVER last_all_time, 0L) AS `user_return_count_all_time`,
    CASE WHEN abs((sum(`user_order_value_mean_90d:sum`) OVER last_90d / nullif(sum(`user_order_value_mean_90d:n`) OVER last_90d, 0L))) < double('Infinity') THEN (sum(`user_order_value_mean_90d:sum`) OVER last_90d / nullif(sum(`user_order_value_mean_90d:n`) OVER last_90d, 0L)) + 0D END AS `user_order_value_mean_90d`
  FROM points
  WINDOW last_90d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 7689600000000L PRECEDING AND CURRENT ROW),
    last_all_time AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_order_count_all_time` AS `user_order_count_all_time`,
    `user_return_count_all_time` AS `user_return_count_all_time`,
    `user_order_value_mean_90d` AS `user_order_value_mean_90d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_order_count_all_time`,
  `user_return_count_all_time`,
  `user_order_value_mean_90d`,
  CASE WHEN abs((CAST(`user_return_count_all_time` AS DOUBLE) / nullif(CAST(nullif(`user_order_count_all_time`, 0L) AS DOUBLE), 0D))) < double('Infinity') THEN (CAST(`user_return_count_all_time` AS DOUBLE) / nullif(CAST(nullif(`user_order_count_all_time`, 0L) AS DOUBLE), 0D)) + 0D END AS `user_return_rate_all_time`
FROM vectors
