SELECT p.bucket, count(*) AS distinct_customers, count(*) FILTER (WHERE p.is_first) AS first_time_customers, count(*) FILTER (WHERE p.orders >= 2) AS repeat_customers, count(*) FILTER (WHERE p.orders >= 2 OR NOT p.is_first) AS returning_customers, sum(p.orders)::bigint AS orders_of_customers
FROM (
SELECT 1 AS bucket, q.*
FROM (
SELECT o.customer, bool_or(o.is_new) AS is_first, sum(o.quantity) AS orders
FROM (
SELECT s.customer, s.is_new, s.quantity, s.occurred_at
FROM conversion AS s
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND true
) AS o
GROUP BY 1
) AS q
) AS p
GROUP BY 1
