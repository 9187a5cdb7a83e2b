WITH cleaned AS (
  SELECT * EXCEPT (_before)
  FROM (
    SELECT *, lag(_at) OVER (PARTITION BY `user_id`, `id` ORDER BY _at, `user_id`, `id`, `amount`, `n`, `word`, `ok`) AS _before
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
      WHERE `user_id` IS NOT NULL
        AND `ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
),
events AS (
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_7d,
    count_if(TRUE) AS hits_all_time,
    collect_set(`word`) AS `user_words_all_time:set`,
    collect_list(CASE WHEN `word` IS NOT NULL AND `amount` IS NOT NULL THEN struct(`word` AS value, `amount` AS weight) END) AS `user_top_7d:entries`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_words_all_time:set`,
    `user_top_7d:entries`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_7d > 0 AND tile_end + 604800000000L > 1728000000000000 THEN struct(tile_end + 604800000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_words_all_time:set` END, TRUE) AS `user_words_all_time:set`,
    first(CASE WHEN enters THEN `user_top_7d:entries` END, TRUE) AS `user_top_7d:entries`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    size(array_distinct(flatten(collect_list(`user_words_all_time:set`) OVER last_all_time))) AS `user_words_all_time`,
    flatten(collect_list(`user_top_7d:entries`) OVER last_7d) AS `user_top_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW),
    last_all_time AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_words_all_time` AS `user_words_all_time`,
    CASE WHEN size(`user_top_7d`) > 0 THEN transform(slice(array_sort(transform(array_distinct(transform(`user_top_7d`, x -> x.value)), v -> struct(aggregate(filter(`user_top_7d`, x -> x.value = v), 0D, (total, x) -> total + x.weight) AS weight, v AS value)), (a, b) -> CASE WHEN a.weight > b.weight THEN -1 WHEN a.weight < b.weight THEN 1 WHEN a.value < b.value THEN -1 WHEN a.value > b.value THEN 1 ELSE 0 END), 1, 3), x -> x.value) END AS `user_top_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_words_all_time`,
  `user_top_7d`
FROM vectors
