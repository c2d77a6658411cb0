SELECT s.bucket, s.measure, s.currency, sum(s.value) AS sum_0, sum(s.value) FILTER (WHERE lower(coalesce(d.channel, '')) IN (lower(CAST(:where_1_channel AS text)))) AS sum_1
FROM (
SELECT width_bucket(r.bucket, CAST(:starts AS timestamptz[])) AS bucket, r.measure, r.currency, r.value, r.dim_id
FROM rollup_day AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_0_from AND r.bucket < :days_0_to
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text), CAST(:campaign_1 AS text))
GROUP BY 1, 2, 3
