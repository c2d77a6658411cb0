SELECT s.bucket, s.measure, s.currency, coalesce(x.page, '') AS label, sum(s.value) AS value
FROM (
SELECT t.bucket, t.measure, t.currency, t.detail_id, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value, e.detail_id
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM visit AS r CROSS JOIN LATERAL (VALUES (r.started_at, 2::smallint, '', r.dim_id, r.detail_id, r.detail_id, '', (1)::bigint)) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.started_at >= :edge_0_from AND r.started_at < :edge_0_to) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.detail_id
) AS s
LEFT JOIN detail AS x ON x.site_id = :site_id AND x.detail_id = s.detail_id
WHERE coalesce(x.country, '') IN (CAST(:country_0 AS text)) AND coalesce(x.device, '') IN (CAST(:device_0 AS text))
GROUP BY 1, 2, 3, 4
