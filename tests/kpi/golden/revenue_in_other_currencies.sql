SELECT t.bucket, t.measure, t.currency, t.day, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, r.measure, r.currency, r.value, (r.bucket AT TIME ZONE CAST(:zone AS text))::date AS day
FROM rollup_total AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_0_from AND r.bucket < :days_0_to
  AND r.currency NOT IN ('', :currency)
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.day
