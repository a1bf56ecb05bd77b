-- Lists idle webhooks with due deliveries: those of accounts that are not among :served first, then
-- the one that has waited longest. Usually the oldest deliveries that are due name one. Where a busy
-- receiver's are in front of all others, heads steps from webhook to webhook through the index of
-- waiting deliveries, however many each has.
WITH RECURSIVE oldest AS MATERIALIZED (
    SELECT webhook_id, run_after FROM webhook_deliveries
    WHERE status = 'waiting' AND run_after <= now() ORDER BY run_after LIMIT :examined
), near AS MATERIALIZED (
    SELECT webhooks.id, owner_id = ANY(CAST(:served AS bigint[])) AS is_served,
        min(oldest.run_after) AS run_after
    FROM oldest JOIN webhooks ON webhooks.id = oldest.webhook_id
    WHERE disabled_at IS NULL AND (busy_until IS NULL OR busy_until <= now()) GROUP BY webhooks.id
), heads AS (
    (SELECT webhook_id, run_after FROM webhook_deliveries WHERE status = 'waiting'
        AND (SELECT count(*) FROM oldest) = :examined
        AND NOT EXISTS (SELECT FROM near WHERE NOT is_served)
    ORDER BY webhook_id, run_after LIMIT 1)
    UNION ALL
    SELECT next.* FROM heads CROSS JOIN LATERAL (
        SELECT webhook_id, run_after FROM webhook_deliveries
        WHERE status = 'waiting' AND webhook_id > heads.webhook_id
        ORDER BY webhook_id, run_after LIMIT 1
    ) AS next
), far AS (
    SELECT webhooks.id, owner_id = ANY(CAST(:served AS bigint[])) AS is_served, heads.run_after
    FROM heads JOIN webhooks ON webhooks.id = heads.webhook_id
    WHERE heads.run_after <= now()
        AND disabled_at IS NULL AND (busy_until IS NULL OR busy_until <= now())
)
SELECT id FROM (SELECT * FROM near UNION SELECT * FROM far) AS idle
ORDER BY is_served, run_after LIMIT :limit
