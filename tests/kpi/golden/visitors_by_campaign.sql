SELECT 1 AS bucket, coalesce(d.campaign, '') AS label_0, sum(s.visitors)::bigint AS visitors
FROM (
SELECT r.dim_id, sum(r.value) AS visitors
FROM rollup_recency AS r
WHERE r.site_id = :site_id AND r.scope = 1
  AND r.bucket >= :whole_from AND r.bucket < :whole_to AND r.previous < :known_before
GROUP BY r.dim_id
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE true
GROUP BY 1, 2
HAVING sum(s.visitors) > 0
