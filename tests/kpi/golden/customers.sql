SELECT p.bucket, p.label, count(*) AS customers, count(*) FILTER (WHERE p.is_first) AS first_time, count(*) FILTER (WHERE p.orders >= 2) AS repeat
FROM (
SELECT 1 AS bucket, '' AS label, c.customer, bool_or(c.is_new) AS is_first, sum(c.quantity) AS orders
FROM conversion AS c
WHERE c.site_id = :site_id AND c.occurred_at >= :from AND c.occurred_at < :to
  AND NOT c.refund AND c.customer IS NOT NULL AND true
GROUP BY 1, 2, 3
) AS p
GROUP BY p.bucket, p.label
