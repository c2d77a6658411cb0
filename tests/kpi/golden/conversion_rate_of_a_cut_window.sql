SELECT t.bucket, t.measure, t.currency, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_total AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_0_from AND r.bucket < :days_0_to
UNION ALL
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_total_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_0_from AND r.bucket < :quarters_0_to
UNION ALL
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_total_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_1_from AND r.bucket < :quarters_1_to
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM visit AS r CROSS JOIN LATERAL (VALUES (r.started_at, 2::smallint, '', r.dim_id, (1)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.started_at >= :edge_0_from AND r.started_at < :edge_0_to) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to)
    OR (r.refund AND r.order_at >= :edge_0_from AND r.order_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM visit AS r CROSS JOIN LATERAL (VALUES (r.started_at, 2::smallint, '', r.dim_id, (1)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.started_at >= :edge_1_from AND r.started_at < :edge_1_to) AND c.at >= :edge_1_from AND c.at < :edge_1_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_1_from AND r.occurred_at < :edge_1_to)
    OR (r.refund AND r.order_at >= :edge_1_from AND r.order_at < :edge_1_to)) AND c.at >= :edge_1_from AND c.at < :edge_1_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency
