SELECT 1 AS bucket, q.*
FROM (
SELECT p.label_0, count(*) AS retained_customers
FROM (
SELECT coalesce(d.campaign, '') AS label_0, s.customer, s.is_new, s.quantity
FROM conversion AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND true
  AND s.is_new
) AS p
WHERE EXISTS (
    SELECT FROM conversion AS n WHERE n.site_id = :site_id AND n.follows_new
  AND n.previous_at >= :from AND n.previous_at < :to
      AND n.customer = p.customer)
GROUP BY 1
) AS q
