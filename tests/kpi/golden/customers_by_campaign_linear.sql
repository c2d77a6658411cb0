SELECT 1 AS bucket, q.*
FROM (
SELECT p.label_0, count(*) AS distinct_customers, count(*) FILTER (WHERE p.is_first) AS first_time_customers, count(*) FILTER (WHERE p.orders >= 2) AS repeat_customers, count(*) FILTER (WHERE p.returns) AS returning_customers
FROM (
SELECT o.customer, o.label_0, bool_or(o.is_new) AS is_first, sum(greatest(least(o.quantity, 2), 1)::integer) AS orders, bool_or(NOT o.is_new OR o.quantity >= 2) AS returns
FROM (
SELECT DISTINCT coalesce(d.campaign, '') AS label_0, s.customer, s.is_new, s.quantity, s.batch_id, s.seq
FROM (
    SELECT c.site_id, c.batch_id, c.seq, c.occurred_at, c.refund, c.customer, c.is_new, c.quantity, c.own_detail, t.dim_id, t.detail_id
    FROM conversion AS c CROSS JOIN LATERAL (
        SELECT c.dim_id, c.detail_id WHERE c.touch_dims IS NULL
        UNION ALL
        SELECT t.dim_id, t.detail_id
        FROM unnest(c.touch_dims, c.touch_details) WITH ORDINALITY AS t (dim_id, detail_id, place)
        WHERE true
    ) AS t
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to
  AND NOT s.refund AND s.customer IS NOT NULL AND true
) AS o
GROUP BY 1, 2
) AS p
GROUP BY 1
) AS q
