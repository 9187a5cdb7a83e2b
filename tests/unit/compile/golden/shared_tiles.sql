SELECT *
FROM (
  SELECT `user_id`,
    _at - pmod(_at, 86400000000L) + 86400000000L AS tile_end,
    count_if(TRUE) AS `tile:0`,
    min(`amount`) AS `tile:1`,
    max(`word`) AS `tile:2`,
    max(CASE WHEN `word` IS NOT NULL AND (`n` > 0L) THEN struct(_at AS at, `word` AS value) END) AS `tile:3`,
    count_if((`n` > 0L)) AS `tile:4`,
    count_if(`ok`) AS `tile:5`,
    count(CASE WHEN (`n` > 0L) THEN 1 END) AS `tile:6`,
    max(CASE WHEN `ok` THEN `word` END) AS `tile:7`,
    min(CASE WHEN (`n` > 0L) THEN _at END) AS `tile:8`,
    max(CASE WHEN (`n` > 0L) THEN _at END) AS `tile:9`
  FROM (
    SELECT *
    FROM (
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
    )
  )
  WHERE TRUE
  GROUP BY `user_id`, _at - pmod(_at, 86400000000L) + 86400000000L
)
DISTRIBUTE BY `user_id`
SORT BY `user_id`, tile_end
