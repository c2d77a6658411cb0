SELECT p.bucket, p.label_0, count(*) AS distinct_customers, count(*) FILTER (WHERE p.is_first) AS first_time_customers, count(*) FILTER (WHERE p.orders >= 2) AS repeat_customers, count(*) FILTER (WHERE p.orders >= 2 OR NOT p.is_first) AS returning_customers, sum(p.orders)::bigint AS orders_of_customers
FROM (
SELECT b.bucket, q.*
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
SELECT o.label_0, o.customer, bool_or(o.is_new) AS is_first, sum(o.quantity) AS orders
FROM (
SELECT coalesce(d.campaign, '') AS label_0, s.customer, s.is_new, s.quantity, s.occurred_at
FROM conversion AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= b.start_at AND s.occurred_at < b.end_at
  AND NOT s.refund AND s.customer IS NOT NULL AND lower(coalesce(d.channel, '')) IN (lower(CAST(:channel_0 AS text)), lower(CAST(:channel_1 AS text))) AND coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text))
) AS o
GROUP BY 1, 2
) AS q
) AS p
GROUP BY 1, 2
