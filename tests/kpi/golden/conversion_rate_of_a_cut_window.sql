SELECT t.bucket, t.measure, t.currency, sum(t.value) AS sum_0
FROM (
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_day AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_from AND r.bucket < :days_to
UNION ALL
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_0_from AND r.bucket < :quarters_0_to
UNION ALL
SELECT 1 AS bucket, r.measure, r.currency, r.value
FROM rollup_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_1_from AND r.bucket < :quarters_1_to
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM visit AS r CROSS JOIN LATERAL (VALUES (r.started_at, 2::smallint, '', r.dim_id, (1)::bigint), (r.started_at, 3::smallint, '', r.dim_id, (CASE WHEN r.hits = 1 THEN 1 ELSE 0 END)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.started_at >= :edge_0_from AND r.started_at < :edge_0_to) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint), (r.occurred_at, 41::smallint, r.currency, r.dim_id, (CASE WHEN r.refund THEN 0 ELSE r.value END)::bigint), (r.occurred_at, 42::smallint, r.currency, r.dim_id, (CASE WHEN r.refund THEN r.value ELSE 0 END)::bigint), (r.occurred_at, 43::smallint, '', r.dim_id, (CASE WHEN r.refund THEN 1 ELSE 0 END)::bigint), (r.occurred_at, 44::smallint, '', r.dim_id, (CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END)::bigint), (r.occurred_at, 45::smallint, r.currency, r.dim_id, (coalesce(r.cost_of_goods, 0))::bigint), (r.occurred_at, 46::smallint, '', r.dim_id, (CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM visit AS r CROSS JOIN LATERAL (VALUES (r.started_at, 2::smallint, '', r.dim_id, (1)::bigint), (r.started_at, 3::smallint, '', r.dim_id, (CASE WHEN r.hits = 1 THEN 1 ELSE 0 END)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.started_at >= :edge_1_from AND r.started_at < :edge_1_to) AND c.at >= :edge_1_from AND c.at < :edge_1_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
UNION ALL
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint), (r.occurred_at, 41::smallint, r.currency, r.dim_id, (CASE WHEN r.refund THEN 0 ELSE r.value END)::bigint), (r.occurred_at, 42::smallint, r.currency, r.dim_id, (CASE WHEN r.refund THEN r.value ELSE 0 END)::bigint), (r.occurred_at, 43::smallint, '', r.dim_id, (CASE WHEN r.refund THEN 1 ELSE 0 END)::bigint), (r.occurred_at, 44::smallint, '', r.dim_id, (CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END)::bigint), (r.occurred_at, 45::smallint, r.currency, r.dim_id, (coalesce(r.cost_of_goods, 0))::bigint), (r.occurred_at, 46::smallint, '', r.dim_id, (CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END)::bigint)) AS c(at, measure, currency, dim_id, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND (r.occurred_at >= :edge_1_from AND r.occurred_at < :edge_1_to) AND c.at >= :edge_1_from AND c.at < :edge_1_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency
