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
        AND `ts` >= timestamp_micros(1727308800000000)
        AND `ts` < timestamp_micros(1729728000000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
    AND _at >= 1727913600000000
),
events AS (
  SELECT *,
    CASE WHEN abs(((`amount` - CAST(coalesce(`n`, 0L) AS DOUBLE)) + CAST(pmod(crc32(CAST(`word` AS BINARY)), 16L) AS DOUBLE))) < double('Infinity') THEN ((`amount` - CAST(coalesce(`n`, 0L) AS DOUBLE)) + CAST(pmod(crc32(CAST(`word` AS BINARY)), 16L) AS DOUBLE)) + 0D END AS `net`
  FROM cleaned
  WHERE (((`word` = 'it\'s') OR (`word` = 'b')) AND (NOT `ok`))
),
tiles AS (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS hits_1d,
    sum(`net`) AS `user_net_1d:sum`
  FROM events
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
),
moves AS (
  SELECT `user_id`,
    move.t,
    move.enters,
    `user_net_1d:sum`
  FROM (
    SELECT *, explode(filter(array(struct(tile_end AS t, TRUE AS enters),
      CASE WHEN hits_1d > 0 AND tile_end + 86400000000L > 1728000000000000 THEN struct(tile_end + 86400000000L AS t, FALSE AS enters) END), x -> x IS NOT NULL)) AS move
    FROM tiles
  )
  WHERE move.t <= 1729728000000000
),
points AS (
  SELECT `user_id`,
    t,
    first(CASE WHEN enters THEN `user_net_1d:sum` END, TRUE) AS `user_net_1d:sum`
  FROM moves
  GROUP BY `user_id`, t
),
frames AS (
  SELECT `user_id`,
    t,
    CASE WHEN abs(coalesce(sum(`user_net_1d:sum`) OVER last_1d, 0D)) < double('Infinity') THEN coalesce(sum(`user_net_1d:sum`) OVER last_1d, 0D) + 0D END AS `user_net_1d`
  FROM points
  WINDOW last_1d AS (PARTITION BY `user_id` ORDER BY t RANGE BETWEEN 0L PRECEDING AND CURRENT ROW)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_net_1d` AS `user_net_1d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_net_1d`,
  CASE WHEN abs((`user_net_1d` / nullif(2.0D, 0D))) < double('Infinity') THEN (`user_net_1d` / nullif(2.0D, 0D)) + 0D END AS `user_half`
FROM vectors
