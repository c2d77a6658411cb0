SELECT b.bucket, q.*
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
SELECT p.label_0, count(*) AS distinct_customers, count(*) FILTER (WHERE p.is_first) AS first_time_customers, count(*) FILTER (WHERE p.orders >= 2) AS repeat_customers, count(*) FILTER (WHERE p.returns) AS returning_customers
FROM (
SELECT o.customer, o.label_0, bool_or(o.is_new) AS is_first, sum(greatest(least(o.quantity, 2), 1)::integer) AS orders, bool_or(NOT o.is_new OR o.quantity >= 2) AS returns
FROM (
SELECT coalesce(d.campaign, '') AS label_0, s.customer, s.is_new, s.quantity
FROM conversion AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= b.start_at AND s.occurred_at < b.end_at
  AND NOT s.refund AND s.customer IS NOT NULL AND lower(coalesce(d.channel, '')) IN (lower(CAST(:channel_0 AS text)), lower(CAST(:channel_1 AS text))) AND coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text))
) AS o
GROUP BY 1, 2
) AS p
GROUP BY 1
) AS q
