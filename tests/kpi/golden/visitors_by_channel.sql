SELECT p.bucket, p.label_0, count(*) AS visitors
FROM (
SELECT DISTINCT s.bucket, coalesce(d.channel, '') AS label_0, s.visitor
FROM (
SELECT DISTINCT 1 AS bucket, v.visitor, v.dim_id
FROM visit AS v
WHERE v.site_id = :site_id AND v.started_at >= :from AND v.started_at < :to
) AS s
LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = s.dim_id
WHERE lower(coalesce(d.channel, '')) IN (lower(CAST(:channel_0 AS text)), lower(CAST(:channel_1 AS text))) AND coalesce(d.campaign, '') IN (CAST(:campaign_0 AS text))
) AS p
GROUP BY 1, 2
