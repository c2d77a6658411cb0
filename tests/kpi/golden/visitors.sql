SELECT b.bucket, c.visitors
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
    SELECT sum(r.value)::bigint AS visitors
    FROM rollup_recency AS r
    WHERE r.site_id = :site_id AND r.scope = 0
      AND r.bucket >= b.start_at AND r.bucket < b.end_at AND r.previous < b.start_at
) AS c
WHERE c.visitors > 0
