SELECT t.bucket, t.measure, t.currency, sum(t.value) AS value
FROM (
SELECT width_bucket(r.bucket, CAST(:starts AS timestamptz[])) AS bucket, r.measure, r.currency, r.value
FROM rollup_total AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_0_from AND r.bucket < :days_0_to
UNION ALL
SELECT width_bucket(r.bucket, CAST(:starts AS timestamptz[])) AS bucket, r.measure, r.currency, r.value
FROM rollup_total_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_0_from AND r.bucket < :quarters_0_to
UNION ALL
SELECT width_bucket(r.bucket, CAST(:starts AS timestamptz[])) AS bucket, r.measure, r.currency, r.value
FROM rollup_total_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_1_from AND r.bucket < :quarters_1_to
UNION ALL
SELECT v.bucket, m.measure, q.currency, q.value * v.sign
FROM unnest(CAST(:shifts_from AS timestamptz[]), CAST(:shifts_to AS timestamptz[]),
  CAST(:shifts_gains AS integer[]), CAST(:shifts_loses AS integer[])) AS c (start_at, end_at, gains, loses)
CROSS JOIN unnest(CAST(:measures AS smallint[])) AS m (measure)
CROSS JOIN LATERAL (
SELECT r.currency, sum(r.value) AS value
FROM rollup_total_quarter AS r
WHERE r.site_id = :site_id AND r.measure = m.measure
  AND r.bucket >= c.start_at AND r.bucket < c.end_at
GROUP BY 1
) AS q
CROSS JOIN LATERAL (VALUES (c.gains, 1), (c.loses, -1)) AS v (bucket, sign)
) AS t
GROUP BY t.bucket, t.measure, t.currency
