SELECT s.bucket, s.measure, s.currency, coalesce(d.campaign, '') AS label, sum(s.value) AS value
FROM (
SELECT t.bucket, t.measure, t.currency, t.dim_id, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, r.measure, r.currency, r.value, r.dim_id
FROM rollup_month AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :months_0_from AND r.bucket < :months_0_to
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.dim_id
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE true
GROUP BY 1, 2, 3, 4
