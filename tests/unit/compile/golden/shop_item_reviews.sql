WITH cleaned AS (
  SELECT * EXCEPT (_before)
  FROM (
    SELECT *, lag(_at) OVER (PARTITION BY `product_id`, `review_id` ORDER BY _at, `review_id`, `product_id`, `rating`) AS _before
    FROM (
      SELECT `review_id`,
        `product_id`,
        `rating`,
        `event_ts`,
        unix_micros(`event_ts`) AS _at
      FROM `reviews`
      WHERE `product_id` IS NOT NULL
        AND `event_ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`review_id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
),
events AS (
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `product_id`,
    _at - pmod(_at, 3600000000L) + 3600000000L AS tile_end,
    count_if(TRUE) AS hits_all_time,
    sum(CAST(`rating` AS DOUBLE)) AS `item_rating_mean_all_time:sum`,
    count(`rating`) AS `item_rating_mean_all_time:n`,
    count(1) AS `item_review_count_all_time:n`
  FROM events
  WHERE TRUE
  GROUP BY `product_id`, _at - pmod(_at, 3600000000L) + 3600000000L
),
moves AS (
  SELECT `product_id`,
    move.t,
    move.enters,
    `item_rating_mean_all_time:sum`,
    `item_rating_mean_all_time:n`,
    `item_review_count_all_time:n`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters)), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `product_id`,
    t,
    first(CASE WHEN enters THEN `item_rating_mean_all_time:sum` END, TRUE) AS `item_rating_mean_all_time:sum`,
    first(CASE WHEN enters THEN `item_rating_mean_all_time:n` END, TRUE) AS `item_rating_mean_all_time:n`,
    first(CASE WHEN enters THEN `item_review_count_all_time:n` END, TRUE) AS `item_review_count_all_time:n`
  FROM moves
  GROUP BY `product_id`, t
),
frames AS (
  SELECT `product_id`,
    t,
    CASE WHEN abs((sum(`item_rating_mean_all_time:sum`) OVER last_all_time / nullif(sum(`item_rating_mean_all_time:n`) OVER last_all_time, 0L))) < double('Infinity') THEN (sum(`item_rating_mean_all_time:sum`) OVER last_all_time / nullif(sum(`item_rating_mean_all_time:n`) OVER last_all_time, 0L)) + 0D END AS `item_rating_mean_all_time`,
    coalesce(sum(`item_review_count_all_time:n`) OVER last_all_time, 0L) AS `item_review_count_all_time`
  FROM points
  WINDOW last_all_time AS (PARTITION BY `product_id` ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `product_id`,
    t,
    `item_rating_mean_all_time` AS `item_rating_mean_all_time`,
    `item_review_count_all_time` AS `item_review_count_all_time`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `product_id`,
  timestamp_micros(t) AS feature_timestamp,
  `item_rating_mean_all_time`,
  `item_review_count_all_time`
FROM vectors
