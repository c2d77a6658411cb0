WITH passing AS MATERIALIZED (
SELECT d.dim_id FROM (
SELECT n.dim_id, n.channel, n.campaign FROM dimension AS n WHERE n.site_id = :site_id
UNION ALL SELECT 0, '', ''
) AS d
WHERE coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text), CAST(:campaign_1 AS text)) AND lower(coalesce(d.channel, '')) IN (lower(CAST(:where_0_channel AS text)))
)
SELECT t.bucket, t.measure, t.currency, sum(t.value) AS value
FROM (
SELECT width_bucket(r.bucket, CAST(:starts AS timestamptz[])) AS bucket, r.measure, r.currency, r.value
FROM rollup_day AS r
WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
  AND r.bucket >= :days_0_from AND r.bucket < :days_0_to
  AND (r.dim_id IN (SELECT p.dim_id FROM passing AS p)) IS TRUE
) AS t
GROUP BY t.bucket, t.measure, t.currency
