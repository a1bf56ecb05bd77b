-- Stores the payload of each delivery: :payloads has those of :ids, in the same order. One that an
-- attempt has stored meanwhile stays. Webhooks are locked before their deliveries, each by ascending
-- id: so no deadlock with another call, the deletion of a webhook, or the end of an attempt. Sorting
-- reads all webhooks, and so locks them, before the first delivery is locked.
WITH stored AS (
    SELECT id, payload
    FROM unnest(CAST(:ids AS uuid[]), CAST(:payloads AS text[])) AS pairs (id, payload)
), receivers AS MATERIALIZED (
    SELECT id FROM webhooks WHERE id IN (
        SELECT webhook_id FROM webhook_deliveries WHERE id = ANY(CAST(:ids AS uuid[])))
    ORDER BY id FOR NO KEY UPDATE
), locked AS (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY(CAST(:ids AS uuid[])) AND webhook_id IN (SELECT id FROM receivers)
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE webhook_deliveries AS deliveries SET payload = stored.payload
FROM locked JOIN stored USING (id)
WHERE deliveries.id = locked.id AND deliveries.payload IS NULL
