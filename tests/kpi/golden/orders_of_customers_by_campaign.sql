SELECT 1 AS bucket, q.*
FROM (
SELECT coalesce(d.campaign, '') AS label_0, sum(s.first_time_customers)::bigint AS first_time_customers, sum(s.orders_of_customers)::bigint AS orders_of_customers
FROM (
SELECT p.dim_id, count(*) FILTER (WHERE p.is_new) AS first_time_customers, count(*) + coalesce(sum(p.quantity - 1) FILTER (WHERE p.quantity <> 1), 0)::bigint AS orders_of_customers
FROM conversion AS p
WHERE p.site_id = :site_id AND p.occurred_at >= :from AND p.occurred_at < :to
  AND NOT p.refund AND p.customer IS NOT NULL
GROUP BY 1
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE true
GROUP BY 1
) AS q
