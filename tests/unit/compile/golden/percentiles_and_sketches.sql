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
        AND `ts` >= timestamp_micros(1726790400000000)
        AND `ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
    AND _at >= 1727395200000000
),
events AS (
  SELECT *
  FROM cleaned
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_7d,
    collect_list(CAST(`amount` AS DOUBLE)) AS `user_p95_7d:values`,
    slice(sort_array(collect_set(CAST(conv(substr(md5(CASE WHEN `ok` THEN CAST(CAST(`word` AS STRING) AS BINARY) END), 1, 15), 16, 10) AS BIGINT))), 1, 1024) AS `user_words_7d:least`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_p95_7d:values`,
    `user_words_7d:least`
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
    first(CASE WHEN enters THEN `user_p95_7d:values` END, TRUE) AS `user_p95_7d:values`,
    first(CASE WHEN enters THEN `user_words_7d:least` END, TRUE) AS `user_words_7d:least`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    sort_array(flatten(collect_list(`user_p95_7d:values`) OVER last_7d)) AS `user_p95_7d`,
    sort_array(array_distinct(flatten(collect_list(`user_words_7d:least`) OVER last_7d))) AS `user_words_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    CASE WHEN size(`user_p95_7d`) > 0 THEN CASE WHEN abs(transform(array(0.95D * (size(`user_p95_7d`) - 1)), p -> `user_p95_7d`[int(floor(p))] + (`user_p95_7d`[int(ceil(p))] - `user_p95_7d`[int(floor(p))]) * (p - floor(p)))[0]) < double('Infinity') THEN transform(array(0.95D * (size(`user_p95_7d`) - 1)), p -> `user_p95_7d`[int(floor(p))] + (`user_p95_7d`[int(ceil(p))] - `user_p95_7d`[int(floor(p))]) * (p - floor(p)))[0] + 0D END END AS `user_p95_7d`,
    CASE WHEN size(`user_words_7d`) < 1024 THEN CAST(size(`user_words_7d`) AS BIGINT) ELSE CAST(floor(1.1794386992128045e+21D / `user_words_7d`[1023]) AS BIGINT) END AS `user_words_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_p95_7d`,
  `user_words_7d`
FROM vectors
