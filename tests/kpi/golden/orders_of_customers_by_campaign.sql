SELECT 1 AS bucket, q.*
FROM (
SELECT p.label_0, count(*) FILTER (WHERE p.is_new) AS first_time_customers, sum(p.quantity)::bigint AS orders_of_customers
FROM (
SELECT coalesce(d.campaign, '') AS label_0, s.customer, s.is_new, s.quantity
FROM conversion AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND true
) AS p
GROUP BY 1
) AS q
