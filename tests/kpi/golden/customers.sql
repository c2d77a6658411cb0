SELECT 1 AS bucket, q.*
FROM (
SELECT count(*) FILTER (WHERE (s.previous_at IS NULL OR s.previous_at < :from)) AS distinct_customers, count(*) FILTER (WHERE s.is_new) AS first_time_customers, count(*) FILTER (WHERE (s.quantity >= 2 OR s.previous_at >= :from)
        AND (s.repeated_at IS NULL OR s.repeated_at < :from)) AS repeat_customers, count(*) FILTER (WHERE (s.previous_at IS NULL OR s.previous_at < :from) AND (NOT s.is_new OR s.quantity >= 2)
        OR s.follows_new AND s.previous_at >= :from AND s.repeated_at IS NULL) AS returning_customers, count(*) + coalesce(sum(s.quantity - 1) FILTER (WHERE s.quantity <> 1), 0)::bigint AS orders_of_customers
FROM conversion AS s
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL
) AS q
