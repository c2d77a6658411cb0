SELECT 1 AS bucket, q.*
FROM (
SELECT count(*) AS retained_customers
FROM conversion AS n
WHERE n.site_id = :site_id AND n.follows_new
  AND n.previous_at >= :from AND n.previous_at < :to AND n.occurred_at < n.previous_at + :horizon * interval '24 hours'
) AS q
