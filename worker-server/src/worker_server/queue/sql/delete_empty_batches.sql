-- Of the :limit batches whose ids follow :after, deletes the empty ones whose idempotency keys have
-- expired and whose callbacks, which have their id, are sent; returns the last of those ids, null
-- after the last batch. Locked ones wait for the next time. A batch at a time by the indexes: one
-- statement for all read every task.
WITH page AS MATERIALIZED (
    SELECT id, created_at FROM batches WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT :limit
), empty AS MATERIALIZED (
    SELECT id FROM page WHERE created_at < now() - make_interval(hours => :hours)
        AND (SELECT id FROM tasks WHERE batch_id = page.id LIMIT 1) IS NULL
        AND (SELECT id FROM webhook_deliveries
            WHERE webhook_id = page.id AND status = 'waiting' LIMIT 1) IS NULL
), deleted AS (
    DELETE FROM batches WHERE id IN (
        SELECT id FROM batches WHERE id IN (SELECT id FROM empty) FOR UPDATE SKIP LOCKED
    )
)
SELECT id FROM page ORDER BY id DESC LIMIT 1
