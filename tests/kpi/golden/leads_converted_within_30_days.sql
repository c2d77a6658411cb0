SELECT t.bucket, t.measure, t.currency, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM lead AS r CROSS JOIN LATERAL (VALUES (r.won_at, 31::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (1)::bigint), (r.won_at, 32::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN CASE WHEN r.converted_at < r.won_at + CAST(:horizon AS integer) * interval '24 hours' THEN r.converted_at END IS NULL THEN 0 ELSE 1 END)::bigint)) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.won_at >= :edge_0_from AND r.won_at < :edge_0_to) OR (r.converted_at >= :edge_0_from AND r.converted_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency
