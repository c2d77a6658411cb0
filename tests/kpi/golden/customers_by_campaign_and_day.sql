SELECT p.bucket, p.label, count(*) AS customers, count(*) FILTER (WHERE p.is_first) AS first_time, count(*) FILTER (WHERE p.orders >= 2) AS repeat
FROM (
SELECT width_bucket(c.occurred_at, CAST(:starts AS timestamptz[])) AS bucket, coalesce(d.campaign, '') AS label, c.customer, bool_or(c.is_new) AS is_first, sum(c.quantity) AS orders
FROM conversion AS c
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = c.dim_id
WHERE c.site_id = :site_id AND c.occurred_at >= :from AND c.occurred_at < :to
  AND NOT c.refund AND c.customer IS NOT NULL AND lower(coalesce(d.channel, '')) IN (lower(CAST(:channel_0 AS text)), lower(CAST(:channel_1 AS text))) AND coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text)) AND lower(coalesce(d.channel, '')) IN (lower(CAST(:where_channel AS text)))
GROUP BY 1, 2, 3
) AS p
GROUP BY p.bucket, p.label
