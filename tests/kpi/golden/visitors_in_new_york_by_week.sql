SELECT b.bucket, c.*
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
    SELECT count(*) AS visitors
    FROM visit AS v
    WHERE v.site_id = :site_id AND v.started_at >= b.start_at AND v.started_at < b.end_at
      AND (v.previous_at IS NULL OR v.previous_at < b.start_at)
) AS c
WHERE c.visitors > 0
