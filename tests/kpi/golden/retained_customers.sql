SELECT p.bucket, count(*) AS retained_customers
FROM (
SELECT DISTINCT 1 AS bucket, o.customer, o.occurred_at
FROM (
SELECT s.customer, s.is_new, s.quantity, s.occurred_at
FROM conversion AS s
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND true
  AND s.is_new
) AS o
) AS p
WHERE EXISTS (
    SELECT FROM conversion AS n
    WHERE n.site_id = :site_id AND n.customer = p.customer AND NOT n.refund
      AND NOT n.is_new AND n.occurred_at >= :from AND n.occurred_at >= p.occurred_at
      AND n.occurred_at < p.occurred_at + :horizon * interval '24 hours')
GROUP BY 1
