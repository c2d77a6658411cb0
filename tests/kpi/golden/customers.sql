SELECT p.bucket, count(*) AS distinct_customers, count(*) FILTER (WHERE p.is_first) AS first_time_customers, count(*) FILTER (WHERE p.orders >= 2) AS repeat_customers, count(*) FILTER (WHERE CASE WHEN p.orders >= 2 THEN true WHEN p.is_first THEN false ELSE EXISTS (
    SELECT FROM conversion AS b
    WHERE b.site_id = :site_id AND b.customer = p.customer AND NOT b.refund
      AND b.occurred_at < (CAST(:starts AS timestamptz[]))[p.bucket]) END) AS returning_customers, sum(p.orders)::bigint AS orders_of_customers
FROM (
SELECT q.bucket, q.customer, bool_or(q.is_new) AS is_first, sum(q.quantity) AS orders
FROM (
SELECT 1 AS bucket, s.customer, s.is_new, s.quantity, s.occurred_at
FROM conversion AS s
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND true
) AS q
GROUP BY 1, 2
) AS p
GROUP BY 1
