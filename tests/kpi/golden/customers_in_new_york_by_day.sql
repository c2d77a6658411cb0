SELECT b.bucket, q.*
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
SELECT count(*) FILTER (WHERE (s.previous_at IS NULL OR s.previous_at < b.start_at)) AS distinct_customers, count(*) FILTER (WHERE s.is_new) AS first_time_customers, count(*) FILTER (WHERE (s.quantity >= 2 OR s.previous_at >= b.start_at)
        AND (s.repeated_at IS NULL OR s.repeated_at < b.start_at)) AS repeat_customers, count(*) FILTER (WHERE (s.previous_at IS NULL OR s.previous_at < b.start_at) AND (NOT s.is_new OR s.quantity >= 2)
        OR s.follows_new AND s.previous_at >= b.start_at AND s.repeated_at IS NULL) AS returning_customers
FROM conversion AS s
WHERE s.site_id = :site_id AND s.occurred_at >= b.start_at AND s.occurred_at < b.end_at
  AND NOT s.refund AND s.customer IS NOT NULL
) AS q
