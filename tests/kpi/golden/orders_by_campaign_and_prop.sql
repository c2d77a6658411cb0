SELECT s.bucket, s.measure, s.currency, coalesce(d.campaign, '') AS label, coalesce(o.props->>'plan', '') AS label1, sum(s.value) AS sum_0
FROM (
SELECT t.bucket, t.measure, t.currency, t.dim_id, t.own_id, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value, e.dim_id, e.own_id
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint), (r.occurred_at, 41::smallint, r.currency, r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE r.value END)::bigint), (r.occurred_at, 42::smallint, r.currency, r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN r.value ELSE 0 END)::bigint), (coalesce(r.order_at, r.occurred_at), 48::smallint, r.currency, r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN r.value ELSE 0 END)::bigint), (r.occurred_at, 43::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 1 ELSE 0 END)::bigint), (r.occurred_at, 44::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END)::bigint), (r.occurred_at, 45::smallint, r.currency, r.dim_id, r.detail_id, r.own_detail, '', (coalesce(r.cost_of_goods, 0))::bigint), (r.occurred_at, 46::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END)::bigint), (r.occurred_at, 47::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE coalesce(r.units, 0) END)::bigint) UNION ALL SELECT f.at, (p.model + f.measure)::smallint, f.currency, p.dim_id, p.detail_id, r.own_detail, f.product, (p.sign * (div(f.value * p.share, p.whole) - CASE WHEN f.value * p.share < div(f.value * p.share, p.whole) * p.whole THEN 1 ELSE 0 END))::bigint FROM (VALUES (r.occurred_at, 40::smallint, '', '', CASE WHEN abs(CASE WHEN r.refund THEN 0 ELSE r.quantity END) <= 9000000000000 THEN (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::numeric * 1000000 ELSE 0 END), (r.occurred_at, 41::smallint, r.currency, '', (CASE WHEN r.refund THEN 0 ELSE r.value END)::numeric), (r.occurred_at, 42::smallint, r.currency, '', (CASE WHEN r.refund THEN r.value ELSE 0 END)::numeric), (coalesce(r.order_at, r.occurred_at), 48::smallint, r.currency, '', (CASE WHEN r.refund THEN r.value ELSE 0 END)::numeric), (r.occurred_at, 43::smallint, '', '', CASE WHEN abs(CASE WHEN r.refund THEN 1 ELSE 0 END) <= 9000000000000 THEN (CASE WHEN r.refund THEN 1 ELSE 0 END)::numeric * 1000000 ELSE 0 END), (r.occurred_at, 44::smallint, '', '', CASE WHEN abs(CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END) <= 9000000000000 THEN (CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END)::numeric * 1000000 ELSE 0 END), (r.occurred_at, 45::smallint, r.currency, '', (coalesce(r.cost_of_goods, 0))::numeric), (r.occurred_at, 46::smallint, '', '', CASE WHEN abs(CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END) <= 9000000000000 THEN (CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END)::numeric * 1000000 ELSE 0 END), (r.occurred_at, 47::smallint, '', '', CASE WHEN abs(CASE WHEN r.refund THEN 0 ELSE coalesce(r.units, 0) END) <= 9000000000000 THEN (CASE WHEN r.refund THEN 0 ELSE coalesce(r.units, 0) END)::numeric * 1000000 ELSE 0 END)) AS f(at, measure, currency, product, value) CROSS JOIN LATERAL ( SELECT p.*
    FROM (
        SELECT cardinality(r.touch_dims) AS touches,
               r.touch_dims[cardinality(r.touch_dims)] AS dim_id,
               r.touch_details[cardinality(r.touch_dims)] AS detail_id,
               (SELECT sum(weight) FROM unnest(r.touch_weights) AS weight) AS weights
        OFFSET 0
    ) AS k CROSS JOIN LATERAL (
        SELECT w.model, e.dim_id, e.detail_id, e.sign, 1::numeric AS share, 1::numeric AS whole
        FROM (VALUES (1000), (2000), (3000), (4000), (5000)) AS w(model)
        CROSS JOIN (VALUES (k.dim_id, k.detail_id, 1), (r.dim_id, r.detail_id, -1))
            AS e(dim_id, detail_id, sign)
        UNION ALL
        SELECT s.model, e.dim_id, e.detail_id, e.sign, s.share, s.whole
        FROM unnest(r.touch_dims, r.touch_details, r.touch_weights) WITH ORDINALITY
            AS t(dim_id, detail_id, weight, place)
        CROSS JOIN LATERAL (VALUES 
    (2000, CASE WHEN t.place = 1 THEN 1 ELSE 0 END, 1),
    (3000, 1, k.touches),
    (4000,
     CASE WHEN k.touches = 2 THEN 1 WHEN t.place = 1 THEN 2 * (k.touches - 2) ELSE 1 END,
     CASE WHEN k.touches = 2 THEN 2 ELSE 5 * (k.touches - 2) END),
    (5000, t.weight, k.weights)) AS s(model, share, whole)
        CROSS JOIN LATERAL (VALUES (t.dim_id, t.detail_id, 1), (k.dim_id, k.detail_id, -1))
            AS e(dim_id, detail_id, sign)
        WHERE t.place < k.touches AND s.share > 0
    ) AS p) AS p WHERE f.value <> 0 AND r.touch_dims IS NOT NULL) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to)
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
