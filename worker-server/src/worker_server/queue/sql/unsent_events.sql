-- Lists the events of webhooks that no attempt has been made to send, of the tasks :task_ids, of
-- their batches and of the batch :batch_id (null: of no other). Without the events of parts, and
-- those for a task's own callback, which is deleted with the task. A delivery has a task or a batch;
-- each half reads its own index, however many deliveries wait for other receivers.
WITH of_batches AS (
    SELECT batch_id FROM tasks WHERE id = ANY(CAST(:task_ids AS uuid[])) AND batch_id IS NOT NULL
    UNION SELECT CAST(:batch_id AS uuid)
), unsent AS (
    SELECT deliveries.* FROM webhook_deliveries AS deliveries
    WHERE status = 'waiting' AND payload IS NULL AND task_id = ANY(CAST(:task_ids AS uuid[]))
    UNION ALL
    SELECT deliveries.* FROM of_batches CROSS JOIN LATERAL (
        SELECT * FROM webhook_deliveries WHERE status = 'waiting' AND payload IS NULL
            AND batch_id = of_batches.batch_id
    ) AS deliveries
)
SELECT unsent.id, unsent.webhook_id, unsent.event, unsent.event_at,
    unsent.task_id, unsent.batch_id, unsent.part, webhooks.owner_id
FROM unsent JOIN webhooks ON webhooks.id = unsent.webhook_id
WHERE unsent.part IS NULL AND webhooks.task_id IS NULL
