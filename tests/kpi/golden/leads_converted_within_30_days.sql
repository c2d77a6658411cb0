SELECT t.bucket, t.measure, t.currency, sum(t.value) AS sum_0
FROM (
SELECT 1 AS bucket, e.measure, e.currency, e.value
FROM (
SELECT c.at, c.measure, c.currency, c.dim_id, c.detail_id, c.own_id, c.product, c.value AS value FROM lead AS r CROSS JOIN LATERAL (VALUES (r.won_at, 30::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (1)::bigint), (r.won_at, 31::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (1)::bigint), (r.won_at, 32::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (CASE WHEN CASE WHEN r.converted_at < r.won_at + CAST(:horizon AS integer) * interval '24 hours' THEN r.converted_at END IS NULL THEN 0 ELSE 1 END)::bigint), (CASE WHEN r.won_at IS NOT NULL THEN r.converted_at END, 33::smallint, '', r.dim_id, r.detail_id, r.own_detail, '', (1)::bigint) UNION ALL SELECT f.at, (p.model + f.measure)::smallint, f.currency, p.dim_id, p.detail_id, r.own_detail, f.product, (p.sign * (div(f.value * p.share, p.whole) - CASE WHEN f.value * p.share < div(f.value * p.share, p.whole) * p.whole THEN 1 ELSE 0 END))::bigint FROM (VALUES (r.won_at, 30::smallint, '', '', CASE WHEN abs(1) <= 9000000000000 THEN (1)::numeric * 1000000 ELSE 0 END), (r.won_at, 31::smallint, '', '', CASE WHEN abs(1) <= 9000000000000 THEN (1)::numeric * 1000000 ELSE 0 END), (r.won_at, 32::smallint, '', '', CASE WHEN abs(CASE WHEN CASE WHEN r.converted_at < r.won_at + CAST(:horizon AS integer) * interval '24 hours' THEN r.converted_at END IS NULL THEN 0 ELSE 1 END) <= 9000000000000 THEN (CASE WHEN CASE WHEN r.converted_at < r.won_at + CAST(:horizon AS integer) * interval '24 hours' THEN r.converted_at END IS NULL THEN 0 ELSE 1 END)::numeric * 1000000 ELSE 0 END), (CASE WHEN r.won_at IS NOT NULL THEN r.converted_at END, 33::smallint, '', '', CASE WHEN abs(1) <= 9000000000000 THEN (1)::numeric * 1000000 ELSE 0 END)) AS f(at, measure, currency, product, value) CROSS JOIN LATERAL ( SELECT p.*
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
    ) AS p) AS p WHERE f.value <> 0 AND r.touch_dims IS NOT NULL) AS c(at, measure, currency, dim_id, detail_id, own_id, product, value) WHERE c.at IS NOT NULL AND c.value <> 0 AND r.site_id = :site_id AND ((r.won_at >= :edge_0_from AND r.won_at < :edge_0_to) OR (r.converted_at >= :edge_0_from AND r.converted_at < :edge_0_to)) AND c.at >= :edge_0_from AND c.at < :edge_0_to
) AS e
WHERE e.measure = ANY(CAST(:measures AS smallint[]))
) AS t
GROUP BY t.bucket, t.measure, t.currency
