SELECT p.bucket, p.label_0, count(*) AS respondents
FROM (
SELECT b.bucket, q.*
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
SELECT DISTINCT coalesce(d.survey, '') AS label_0, s.respondent
FROM answer AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= b.start_at AND s.occurred_at < b.end_at
  AND true
) AS q
) AS p
GROUP BY 1, 2
