SELECT t.bucket, t.measure, t.currency, sum(t.value) AS value
FROM (
SELECT width_bucket(r.bucket, CAST(:starts AS timestamptz[])) AS bucket, r.measure, r.currency, r.value
FROM rollup_total_quarter AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :quarters_0_from AND r.bucket < :quarters_0_to
) AS t
GROUP BY t.bucket, t.measure, t.currency
