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
    CASE WHEN count(CAST(CASE WHEN `ok` THEN `amount` END AS DOUBLE)) > 0 THEN struct(count(CAST(CASE WHEN `ok` THEN `amount` END AS DOUBLE)) AS n, avg(CAST(CASE WHEN `ok` THEN `amount` END AS DOUBLE)) AS mean, var_pop(CAST(CASE WHEN `ok` THEN `amount` END AS DOUBLE)) * count(CAST(CASE WHEN `ok` THEN `amount` END AS DOUBLE)) AS m2) END AS `user_variance_7d:moments`,
    collect_set(`word`) AS `user_words_7d:set`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_variance_7d:moments`,
    `user_words_7d:set`
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
    first(CASE WHEN enters THEN `user_variance_7d:moments` END, TRUE) AS `user_variance_7d:moments`,
    first(CASE WHEN enters THEN `user_words_7d:set` END, TRUE) AS `user_words_7d:set`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    collect_list(`user_variance_7d:moments`) OVER last_7d AS `user_variance_7d`,
    sort_array(array_distinct(flatten(collect_list(`user_words_7d:set`) OVER last_7d))) AS `user_words_7d`
  FROM points
  WINDOW last_7d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 518400000000L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    aggregate(`user_variance_7d`, struct(0L AS n, 0D AS mean, 0D AS m2), (a, b) -> struct(a.n + b.n AS n, a.mean + (b.mean - a.mean) * (b.n / (a.n + b.n)) AS mean, a.m2 + b.m2 + (b.mean - a.mean) * ((b.mean - a.mean) * (a.n * (b.n / (a.n + b.n)))) AS m2), x -> CASE WHEN x.n > 1 THEN CASE WHEN abs((x.m2 / (x.n - 1L))) < double('Infinity') THEN (x.m2 / (x.n - 1L)) + 0D END END) AS `user_variance_7d`,
    CASE WHEN size(`user_words_7d`) > 0 THEN `user_words_7d` END AS `user_words_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_variance_7d`,
  `user_words_7d`
FROM vectors
