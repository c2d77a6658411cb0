SELECT p.bucket, p.label_0, count(*) AS distinct_customers, count(*) FILTER (WHERE p.is_first) AS first_time_customers, count(*) FILTER (WHERE p.orders >= 2) AS repeat_customers, count(*) FILTER (WHERE CASE WHEN p.orders >= 2 THEN true WHEN p.is_first THEN false ELSE EXISTS (
    SELECT FROM conversion AS b
    WHERE b.site_id = :site_id AND b.customer = p.customer AND NOT b.refund
      AND b.occurred_at < (CAST(:starts AS timestamptz[]))[p.bucket]) END) AS returning_customers, sum(p.orders)::bigint AS orders_of_customers
FROM (
SELECT q.bucket, q.label_0, q.customer, bool_or(q.is_new) AS is_first, sum(q.quantity) AS orders
FROM (
SELECT width_bucket(s.occurred_at, CAST(:starts AS timestamptz[])) AS bucket, coalesce(d.campaign, '') AS label_0, s.customer, s.is_new, s.quantity, s.occurred_at
FROM conversion AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND lower(coalesce(d.channel, '')) IN (lower(CAST(:channel_0 AS text)), lower(CAST(:channel_1 AS text))) AND coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text))
) AS q
GROUP BY 1, 2, 3
) AS p
GROUP BY 1, 2
