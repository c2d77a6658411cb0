WITH passing AS MATERIALIZED (
SELECT d.dim_id FROM (
SELECT n.dim_id, n.campaign FROM dimension AS n WHERE n.site_id = :site_id
UNION ALL SELECT 0, ''
) AS d
WHERE coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text))
)
SELECT s.bucket, s.measure, s.currency, s.product AS label, sum(s.value) AS value
FROM (
SELECT t.bucket, t.measure, t.currency, t.product, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value, e.product
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 41::smallint, r.currency, r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE r.value - coalesce((SELECT sum((line->>2)::bigint) FROM jsonb_array_elements(r.lines) AS line), 0) END)::bigint), (r.occurred_at, 42::smallint, r.currency, r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN r.value ELSE 0 END)::bigint) UNION ALL SELECT f.at, f.measure, f.currency, r.dim_id, r.detail_id, r.own_detail, f.product, f.value FROM (
    SELECT a.at, a.measure, a.currency, line->>0, a.value
    FROM jsonb_array_elements(r.lines) AS line CROSS JOIN LATERAL (VALUES
        (r.occurred_at, 41::smallint, r.currency, (line->>2)::bigint),
        (r.occurred_at, 47::smallint, '', (line->>1)::bigint)
    ) AS a(at, measure, currency, value)
    WHERE NOT r.refund AND a.value <> 0) AS f(at, measure, currency, product, value)) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to)
    OR (r.refund AND r.order_at >= :edge_0_from AND r.order_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
  AND (e.dim_id IN (SELECT p.dim_id FROM passing AS p)) IS TRUE
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.product
) AS s
WHERE true
GROUP BY 1, 2, 3, 4
