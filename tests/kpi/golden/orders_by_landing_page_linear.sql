SELECT s.bucket, s.measure, s.currency, coalesce(x.page, '') AS label, sum(s.value) AS sum_0
FROM (
SELECT t.bucket, t.measure, t.currency, t.detail_id, sum(t.value) AS value
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value, e.detail_id
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM conversion AS r CROSS JOIN LATERAL (VALUES (r.occurred_at, 40::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::bigint) UNION ALL SELECT f.at, (p.model + f.measure)::smallint, f.currency, p.dim_id, p.detail_id, r.own_detail, f.product, (p.sign * (div(f.value * p.share, p.whole) - CASE WHEN f.value * p.share < div(f.value * p.share, p.whole) * p.whole THEN 1 ELSE 0 END))::bigint FROM (VALUES (r.occurred_at, 40::smallint, '', '', CASE WHEN abs(CASE WHEN r.refund THEN 0 ELSE r.quantity END) <= 9000000000000 THEN (CASE WHEN r.refund THEN 0 ELSE r.quantity END)::numeric * 1000000 ELSE 0 END)) AS f(at, measure, currency, product, value) CROSS JOIN LATERAL ( SELECT p.*
    FROM (
        SELECT cardinality(r.touch_dims) AS touches,
               r.touch_dims[cardinality(r.touch_dims)] AS dim_id,
               r.touch_details[cardinality(r.touch_dims)] AS detail_id,
               (SELECT sum(weight) FROM unnest(r.touch_weights) AS weight) AS weights
        OFFSET 0
    ) AS k CROSS JOIN LATERAL (
        SELECT m.*, 1::numeric AS share, 1::numeric AS whole
        FROM (VALUES (1000, k.dim_id, k.detail_id, 1), (1000, r.dim_id, r.detail_id, -1), (2000, k.dim_id, k.detail_id, 1), (2000, r.dim_id, r.detail_id, -1), (3000, k.dim_id, k.detail_id, 1), (3000, r.dim_id, r.detail_id, -1), (4000, k.dim_id, k.detail_id, 1), (4000, r.dim_id, r.detail_id, -1), (5000, k.dim_id, k.detail_id, 1), (5000, r.dim_id, r.detail_id, -1)) AS m(model, dim_id, detail_id, sign)
        UNION ALL
        SELECT m.*
        FROM unnest(r.touch_dims, r.touch_details, r.touch_weights) WITH ORDINALITY
            AS t(dim_id, detail_id, weight, place)
        CROSS JOIN LATERAL (VALUES (2000, t.dim_id, t.detail_id, 1, CASE WHEN t.place = 1 THEN 1 ELSE 0 END, 1), (2000, k.dim_id, k.detail_id, -1, CASE WHEN t.place = 1 THEN 1 ELSE 0 END, 1), (3000, t.dim_id, t.detail_id, 1, 1, k.touches), (3000, k.dim_id, k.detail_id, -1, 1, k.touches), (4000, t.dim_id, t.detail_id, 1, CASE WHEN k.touches = 2 OR t.place > 1 THEN 1 ELSE 2 * (k.touches - 2) END, CASE WHEN k.touches = 2 THEN 2 ELSE 5 * (k.touches - 2) END), (4000, k.dim_id, k.detail_id, -1, CASE WHEN k.touches = 2 OR t.place > 1 THEN 1 ELSE 2 * (k.touches - 2) END, CASE WHEN k.touches = 2 THEN 2 ELSE 5 * (k.touches - 2) END), (5000, t.dim_id, t.detail_id, 1, t.weight, k.weights), (5000, k.dim_id, k.detail_id, -1, t.weight, k.weights)) AS m(model, dim_id, detail_id, sign, share, whole)
        WHERE t.place < k.touches AND m.share > 0
    ) AS p) AS p WHERE f.value <> 0 AND r.touch_dims IS NOT NULL) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.occurred_at >= :edge_0_from AND r.occurred_at < :edge_0_to)
    OR (r.refund AND r.order_at >= :edge_0_from AND r.order_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency, t.detail_id
) AS s
LEFT JOIN detail AS x ON x.site_id = :site_id AND x.detail_id = s.detail_id
WHERE true
GROUP BY 1, 2, 3, 4
