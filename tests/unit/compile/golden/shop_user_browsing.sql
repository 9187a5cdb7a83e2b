WITH cleaned AS (
  SELECT `user_id`,
    `category`,
    `seconds`,
    `event_ts`,
    unix_micros(`event_ts`) AS _at
  FROM `browsing`
  WHERE `user_id` IS NOT NULL
    AND `event_ts` >= timestamp_micros(1720224000000000)
    AND `event_ts` < timestamp_micros(1729728000000000)
),
events AS (
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_90d,
    collect_list(CASE WHEN `category` IS NOT NULL AND `seconds` IS NOT NULL THEN struct(`category` AS value, `seconds` AS weight) END) AS `user_preferred_categories_top3_90d:entries`,
    sum(shiftright(`seconds`, 32)) AS `user_browsing_seconds_sum_90d:high`,
    sum(`seconds` & 4294967295L) AS `user_browsing_seconds_sum_90d:low`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_preferred_categories_top3_90d:entries`,
    `user_browsing_seconds_sum_90d:high`,
    `user_browsing_seconds_sum_90d:low`
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
    first(CASE WHEN enters THEN `user_preferred_categories_top3_90d:entries` END, TRUE) AS `user_preferred_categories_top3_90d:entries`,
    first(CASE WHEN enters THEN `user_browsing_seconds_sum_90d:high` END, TRUE) AS `user_browsing_seconds_sum_90d:high`,
    first(CASE WHEN enters THEN `user_browsing_seconds_sum_90d:low` END, TRUE) AS `user_browsing_seconds_sum_90d:low`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    flatten(collect_list(`user_preferred_categories_top3_90d:entries`) OVER last_90d) AS `user_preferred_categories_top3_90d`,
    struct(sum(`user_browsing_seconds_sum_90d:high`) OVER last_90d AS high, sum(`user_browsing_seconds_sum_90d:low`) OVER last_90d AS low) AS `user_browsing_seconds_sum_90d`
  FROM points
  WINDOW last_90d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 7689600000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    CASE WHEN size(`user_preferred_categories_top3_90d`) > 0 THEN transform(slice(array_sort(transform(array_distinct(transform(`user_preferred_categories_top3_90d`, x -> x.value)), v -> struct(aggregate(filter(`user_preferred_categories_top3_90d`, x -> x.value = v), CAST(0 AS DECIMAL(38, 0)), (total, x) -> CAST(total + x.weight AS DECIMAL(38, 0))) AS weight, v AS value)), (a, b) -> CASE WHEN a.weight > b.weight THEN -1 WHEN a.weight < b.weight THEN 1 WHEN a.value < b.value THEN -1 WHEN a.value > b.value THEN 1 ELSE 0 END), 1, 3), x -> x.value) END AS `user_preferred_categories_top3_90d`,
    CASE WHEN `user_browsing_seconds_sum_90d`.high IS NULL THEN 0L WHEN (`user_browsing_seconds_sum_90d`.high + shiftright(`user_browsing_seconds_sum_90d`.low, 32)) BETWEEN -2147483648L AND 2147483647L THEN shiftleft((`user_browsing_seconds_sum_90d`.high + shiftright(`user_browsing_seconds_sum_90d`.low, 32)), 32) | (`user_browsing_seconds_sum_90d`.low & 4294967295L) END AS `user_browsing_seconds_sum_90d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_preferred_categories_top3_90d`,
  `user_browsing_seconds_sum_90d`
FROM vectors
