SELECT 1 AS bucket, sum(s.visitors)::bigint AS visitors
FROM (
SELECT sum(r.value) AS visitors
FROM rollup_recency AS r
WHERE r.site_id = :site_id AND r.scope = 0
  AND r.bucket >= :whole_from AND r.bucket < :whole_to AND r.previous < :known_before
UNION ALL
SELECT -count(*) AS visitors
FROM visit AS v
WHERE v.site_id = :site_id AND v.started_at >= :edge_0_from AND v.started_at < :edge_0_to
  AND (v.previous_at IS NULL OR v.previous_at < :from)
UNION ALL
SELECT +count(*) AS visitors
FROM visit AS v
WHERE v.site_id = :site_id AND v.started_at >= :edge_1_from AND v.started_at < :edge_1_to
  AND (v.previous_at IS NULL OR v.previous_at < :from)
UNION ALL
SELECT +count(*) AS visitors
FROM visit AS v CROSS JOIN LATERAL (
    SELECT f.dim_id FROM visit AS f
    WHERE f.site_id = :site_id AND f.visitor = v.visitor
      AND (f.visitor, f.started_at) >= (v.visitor, :whole_from)
      AND (f.visitor, f.started_at) < (v.visitor, :whole_to)
      AND f.previous_at = v.started_at
    OFFSET 0
) AS n
WHERE v.site_id = :site_id AND v.started_at >= :cut_from AND v.started_at < :cut_to
) AS s
HAVING sum(s.visitors) > 0
