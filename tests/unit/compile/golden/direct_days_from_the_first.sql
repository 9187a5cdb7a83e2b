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
        AND `ts` < timestamp_micros(1728259200000000)
    )
  )
  WHERE (`id` IS NULL OR _before IS NULL OR _before < _at - 604800000000L)
),
events AS (
  SELECT *
  FROM cleaned
),
instants AS (
  SELECT *, explode(sequence(greatest(_at - pmod(_at, 86400000000L) + 86400000000L, 1728086400000000L), 1728259200000000L, 86400000000L)) AS _t
  FROM events
  WHERE TRUE
),
points AS (
  SELECT `user_id`,
    _t AS t,
    count(CASE WHEN _at >= _t - 604800000000L THEN 1 END) AS `user_n_7d:n`,
    count(CASE WHEN `ok` AND _at >= _t - 604800000000L THEN `word` END) AS `user_words_7d:n`,
    sum(CASE WHEN _at >= _t - 86400000000L THEN `amount` END) AS `user_amount_1d:sum`,
    sum(CAST(`amount` AS DOUBLE)) AS `user_amount_all_time:sum`,
    count(`amount`) AS `user_amount_all_time:n`
  FROM instants
  GROUP BY `user_id`, _t
  HAVING count_if(_at >= _t - 86400000000L) > 0
    OR count_if((TRUE) AND _at >= _t - 172800000000L AND _at < _t - 86400000000L) > 0
    OR _t = 1728086400000000L AND count_if((TRUE) AND _at >= _t - 86400000000L) > 0
    OR count_if((TRUE) AND _at >= _t - 691200000000L AND _at < _t - 604800000000L) > 0
    OR _t = 1728086400000000L AND count_if((TRUE) AND _at >= _t - 604800000000L) > 0
    OR _t = 1728086400000000L AND count_if((TRUE)) > 0
),
frames AS (
  SELECT `user_id`,
    t,
    coalesce(sum(`user_n_7d:n`) OVER whole, 0L) AS `user_n_7d`,
    coalesce(sum(`user_words_7d:n`) OVER whole, 0L) AS `user_words_7d`,
    CASE WHEN abs(coalesce(sum(`user_amount_1d:sum`) OVER whole, 0D)) < double('Infinity') THEN coalesce(sum(`user_amount_1d:sum`) OVER whole, 0D) + 0D END AS `user_amount_1d`,
    CASE WHEN abs((sum(`user_amount_all_time:sum`) OVER whole / nullif(sum(`user_amount_all_time:n`) OVER whole, 0L))) < double('Infinity') THEN (sum(`user_amount_all_time:sum`) OVER whole / nullif(sum(`user_amount_all_time:n`) OVER whole, 0L)) + 0D END AS `user_amount_all_time`
  FROM points
  WINDOW whole AS (PARTITION BY `user_id`, t)
),
vectors AS (
  SELECT `user_id`,
    t,
    `user_n_7d` AS `user_n_7d`,
    `user_words_7d` AS `user_words_7d`,
    `user_amount_1d` AS `user_amount_1d`,
    `user_amount_all_time` AS `user_amount_all_time`
  FROM frames
  WHERE t > 1728000000000000
)
SELECT `user_id`,
  timestamp_micros(t) AS feature_timestamp,
  `user_n_7d`,
  `user_words_7d`,
  `user_amount_1d`,
  `user_amount_all_time`
FROM vectors
