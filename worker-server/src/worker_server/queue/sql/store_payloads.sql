-- Stores the payload of each delivery: :payloads has those of :ids, in the same order. One that an
-- attempt has stored meanwhile stays. Locked by ascending id, so that two calls cannot deadlock.
WITH stored AS (
    SELECT id, payload
    FROM unnest(CAST(:ids AS uuid[]), CAST(:payloads AS text[])) AS pairs (id, payload)
), locked AS (
    SELECT id FROM webhook_deliveries WHERE id = ANY(CAST(:ids AS uuid[]))
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE webhook_deliveries AS deliveries SET payload = stored.payload
FROM locked JOIN stored USING (id)
WHERE deliveries.id = locked.id AND deliveries.payload IS NULL
