SELECT s.bucket, s.measure, s.currency, coalesce(x.page, '') AS label, sum(s.value) AS value
FROM (
SELECT t.bucket, t.measure, t.currency, t.detail_id, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value, e.detail_id
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint) UNION ALL SELECT f.at, (p.model + f.measure)::smallint, f.currency, p.dim_id, p.detail_id, r.own_detail, f.product, p.value FROM (VALUES (r.occurred_at, 40::smallint, '', '', CASE WHEN abs(CASE WHEN r.refund THEN 0 ELSE r.quantity END) <= 1000000000000 THEN (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint * 1000000 ELSE 0 END)) AS f(at, measure, currency, product, value) CROSS JOIN (
        SELECT cardinality(r.touch_dims) AS touches,
               r.touch_dims[cardinality(r.touch_dims)] AS dim_id,
               r.touch_details[cardinality(r.touch_dims)] AS detail_id,
               (SELECT sum(weight) FROM unnest(r.touch_weights) AS weight) AS weights
        OFFSET 0
    ) AS k CROSS JOIN LATERAL (
        SELECT g.* FROM (VALUES (1000, k.dim_id, k.detail_id, f.value), (1000, r.dim_id, r.detail_id, -f.value), (2000, k.dim_id, k.detail_id, f.value), (2000, r.dim_id, r.detail_id, -f.value), (3000, k.dim_id, k.detail_id, f.value), (3000, r.dim_id, r.detail_id, -f.value), (4000, k.dim_id, k.detail_id, f.value), (4000, r.dim_id, r.detail_id, -f.value), (5000, k.dim_id, k.detail_id, f.value), (5000, r.dim_id, r.detail_id, -f.value)) AS g(model, dim_id, detail_id, value)
        UNION ALL
        SELECT s.model, e.dim_id, e.detail_id, e.sign * s.value
        FROM unnest(r.touch_dims, r.touch_details, r.touch_weights) WITH ORDINALITY
            AS t(dim_id, detail_id, weight, place)
        CROSS JOIN LATERAL (VALUES (2000, CASE WHEN t.place = 1 THEN f.value ELSE 0 END), (3000, f.value / k.touches - CASE WHEN f.value % k.touches < 0 THEN 1 ELSE 0 END), (4000, CASE WHEN k.touches = 2 THEN f.value / 2 - CASE WHEN f.value % 2 < 0 THEN 1 ELSE 0 END
        WHEN t.place = 1 THEN (f.value * 2) / 5 - CASE WHEN (f.value * 2) % 5 < 0 THEN 1 ELSE 0 END
        ELSE f.value / (5 * (k.touches - 2)) - CASE WHEN f.value % (5 * (k.touches - 2)) < 0 THEN 1 ELSE 0 END END), (5000, (div(f.value::numeric * t.weight, k.weights)
        - CASE WHEN mod(f.value::numeric * t.weight, k.weights) < 0 THEN 1 ELSE 0 END)::bigint)) AS s(model, value)
        CROSS JOIN LATERAL (VALUES (t.dim_id, t.detail_id, 1), (k.dim_id, k.detail_id, -1))
            AS e(dim_id, detail_id, sign)
        WHERE t.place < k.touches AND s.value <> 0
    ) AS p WHERE f.value <> 0 AND r.touch_dims IS NOT NULL) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to)
    OR (r.refund AND r.order_at >= :edge_0_from AND r.order_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.detail_id
) AS s
LEFT JOIN detail AS x ON x.site_id = :site_id AND x.detail_id = s.detail_id
WHERE true
GROUP BY 1, 2, 3, 4
