SELECT s.bucket, s.measure, s.currency, coalesce(d.campaign, '') AS label, coalesce(o.props->>'plan', '') AS label1, sum(s.value) AS value
FROM (
SELECT t.bucket, t.measure, t.currency, t.dim_id, t.own_id, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value, e.dim_id, e.own_id
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint)) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to)
    OR (r.refund AND r.order_at >= :edge_0_from AND r.order_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.dim_id, t.own_id
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
LEFT JOIN detail AS o ON o.site_id = :site_id AND o.detail_id = s.own_id
WHERE true
GROUP BY 1, 2, 3, 4, 5
