SELECT t.bucket, t.measure, t.currency, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_total AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_0_from AND r.bucket < :days_0_to
) AS t
GROUP BY t.bucket, t.measure, t.currency
