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
        AND `ts` < timestamp_micros(1728086400000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
    AND _at >= 1727395200000000
),
events AS (
  SELECT *
  FROM cleaned
),
instants AS (
  SELECT *, 1728086400000000L AS _t
  FROM events
  WHERE TRUE
),
points AS (
  SELECT `user_id`,
    _t AS t,
    min(CASE WHEN _at >= _t - 604800000000L THEN `amount` END) AS `user_min_7d:min`,
    max(CASE WHEN _at >= _t - 604800000000L THEN `word` END) AS `user_max_7d:max`,
    max(CASE WHEN `word` IS NOT NULL AND (`n` > 0L) AND _at >= _t - 604800000000L THEN struct(_at AS at, `word` AS value) END) AS `user_last_7d:last`
  FROM instants
  GROUP BY `user_id`, _t
  HAVING count_if(_at >= _t - 86400000000L) > 0
    OR count_if((TRUE) AND _at >= _t - 691200000000L AND _at < _t - 604800000000L) > 0
),
frames AS (
  SELECT `user_id`,
    t,
    min(`user_min_7d:min`) OVER whole AS `user_min_7d`,
    max(`user_max_7d:max`) OVER whole AS `user_max_7d`,
    (max(`user_last_7d:last`) OVER whole).value AS `user_last_7d`
  FROM points
  WINDOW whole AS (PARTITION BY `user_id`, t)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_min_7d` AS `user_min_7d`,
    `user_max_7d` AS `user_max_7d`,
    `user_last_7d` AS `user_last_7d`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_min_7d`,
  `user_max_7d`,
  `user_last_7d`
FROM vectors
