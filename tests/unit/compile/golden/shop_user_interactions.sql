WITH cleaned AS (
  SELECT * EXCEPT (_before)
  FROM (
    SELECT *, lag(_at) OVER (PARTITION BY `user_id`, `event_id` ORDER BY _at, `event_id`, `user_id`, `event_type`, `product_id`, `category`, `quantity`, `query`) AS _before
    FROM (
      SELECT `event_id`,
        `user_id`,
        `event_type`,
        `product_id`,
        `category`,
        `quantity`,
        `query`,
        `event_ts`,
        unix_micros(`event_ts`) AS _at
      FROM `interactions_log`
      WHERE `user_id` IS NOT NULL
        AND `event_ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`event_id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
),
events AS (
  SELECT *,
    CASE WHEN (`event_type` = 'cart_add') THEN `quantity` WHEN (`event_type` = 'cart_remove') THEN (- nullif(`quantity`, (-9223372036854775807L - 1L))) ELSE CAST(NULL AS bigint) END AS `cart_step`,
    pmod(crc32(CAST(lower(trim(`query`)) AS BINARY)), 10000L) AS `query_code`
  FROM cleaned
  WHERE NOT CASE WHEN (`event_type` = 'cart_add') THEN FALSE WHEN (`event_type` = 'cart_remove') THEN (`quantity` IS NOT NULL AND (- nullif(`quantity`, (-9223372036854775807L - 1L))) IS NULL) ELSE FALSE END
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 1000000L) + 1000000L AS tile_end,
    count_if(TRUE) AS hits_30m,
    count_if((`event_type` = 'search')) AS hits_1h,
    count_if(TRUE) AS hits_all_time,
    count(CASE WHEN (`event_type` = 'click') THEN 1 END) AS `user_clicks_last_30min:n`,
    sum(shiftright(`cart_step`, 32)) AS `user_cart_items_current:high`,
    sum(`cart_step` & 4294967295L) AS `user_cart_items_current:low`,
    max(CASE WHEN `category` IS NOT NULL AND (`event_type` = 'click') THEN struct(_at AS at, `category` AS value) END) AS `user_last_category_viewed:last`,
    slice(sort_array(collect_list(CASE WHEN `query_code` IS NOT NULL AND (`event_type` = 'search') THEN struct(_at AS at, `query_code` AS value) END), false), 1, 5) AS `user_search_queries_last_hour:last_n`,
    max(CASE WHEN `event_ts` IS NOT NULL AND (`event_type` = 'purchase') THEN struct(_at AS at, `event_ts` AS value) END) AS `user_last_purchase_at:last`,
    count(1) AS `user_event_count_session:n`,
    min(_at) AS `session_30m_1:first`,
    max(_at) AS `session_30m_1:last`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 1000000L) + 1000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_clicks_last_30min:n`,
    `user_cart_items_current:high`,
    `user_cart_items_current:low`,
    `user_last_category_viewed:last`,
    `user_search_queries_last_hour:last_n`,
    `user_last_purchase_at:last`,
    `user_event_count_session:n`,
    `session_30m_1:first`,
    `session_30m_1:last`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_30m > 0 AND tile_end + 1800000000L > 1728000000000000 THEN struct(tile_end + 1800000000L AS t, FALSE AS enters) END,
      CASE WHEN hits_1h > 0 AND tile_end + 3600000000L > 1728000000000000 THEN struct(tile_end + 3600000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_clicks_last_30min:n` END, TRUE) AS `user_clicks_last_30min:n`,
    first(CASE WHEN enters THEN `user_cart_items_current:high` END, TRUE) AS `user_cart_items_current:high`,
    first(CASE WHEN enters THEN `user_cart_items_current:low` END, TRUE) AS `user_cart_items_current:low`,
    first(CASE WHEN enters THEN `user_last_category_viewed:last` END, TRUE) AS `user_last_category_viewed:last`,
    first(CASE WHEN enters THEN `user_search_queries_last_hour:last_n` END, TRUE) AS `user_search_queries_last_hour:last_n`,
    first(CASE WHEN enters THEN `user_last_purchase_at:last` END, TRUE) AS `user_last_purchase_at:last`,
    first(CASE WHEN enters THEN `user_event_count_session:n` END, TRUE) AS `user_event_count_session:n`,
    first(CASE WHEN enters THEN `session_30m_1:first` END, TRUE) AS `session_30m_1:first`,
    first(CASE WHEN enters THEN `session_30m_1:last` END, TRUE) AS `session_30m_1:last`
  FROM moves
  GROUP BY `user_id`, t
),
sessions AS (
  SELECT *,
    CASE WHEN t - max(`session_30m_1:last`) OVER so_far <= 1800000000L THEN count_if(`session_30m_1:begins`) OVER so_far END AS session_30m_1
  FROM (
    SELECT *,
      `session_30m_1:first` IS NOT NULL AND coalesce(`session_30m_1:first` - max(`session_30m_1:last`) OVER earlier > 1800000000L, TRUE) AS `session_30m_1:begins`
    FROM points
    WINDOW earlier AS (PARTITION BY `user_id` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  )
  WINDOW so_far AS (PARTITION BY `user_id` ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_clicks_last_30min:n`) OVER last_30m, 0L) AS `user_clicks_last_30min`,
    struct(sum(`user_cart_items_current:high`) OVER last_all_time AS high, sum(`user_cart_items_current:low`) OVER last_all_time AS low) AS `user_cart_items_current`,
    (max(`user_last_category_viewed:last`) OVER last_all_time).value AS `user_last_category_viewed`,
    flatten(collect_list(`user_search_queries_last_hour:last_n`) OVER last_1h) AS `user_search_queries_last_hour`,
    (max(`user_last_purchase_at:last`) OVER last_all_time).value AS `user_last_purchase_at`,
    coalesce(sum(`user_event_count_session:n`) OVER of_session_30m_1, 0L) AS `user_event_count_session`
  FROM sessions
  WINDOW last_30m AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 1799000000L PRECEDING AND CURRENT ROW),
    last_1h AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 3599000000L PRECEDING AND CURRENT ROW),
    last_all_time AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
    of_session_30m_1 AS (PARTITION BY `user_id`, session_30m_1 ORDER BY t)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_clicks_last_30min` AS `user_clicks_last_30min`,
    CASE WHEN `user_cart_items_current`.high IS NULL THEN 0L WHEN (`user_cart_items_current`.high + shiftright(`user_cart_items_current`.low, 32)) BETWEEN -2147483648L AND 2147483647L THEN shiftleft((`user_cart_items_current`.high + shiftright(`user_cart_items_current`.low, 32)), 32) | (`user_cart_items_current`.low & 4294967295L) END AS `user_cart_items_current`,
    `user_last_category_viewed` AS `user_last_category_viewed`,
    CASE WHEN size(`user_search_queries_last_hour`) > 0 THEN transform(slice(sort_array(`user_search_queries_last_hour`, false), 1, 5), x -> x.value) END AS `user_search_queries_last_hour`,
    `user_last_purchase_at` AS `user_last_purchase_at`,
    `user_event_count_session` AS `user_event_count_session`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_clicks_last_30min`,
  `user_cart_items_current`,
  `user_last_category_viewed`,
  `user_search_queries_last_hour`,
  `user_last_purchase_at`,
  `user_event_count_session`
FROM vectors
