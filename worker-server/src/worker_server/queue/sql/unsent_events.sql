-- Lists the events of webhooks that no attempt has been made to send, of the tasks :task_ids, of
-- their batches and of the batch :batch_id (null: of no other). Without the events of parts, and
-- those for a task's own callback, which is deleted with the task.
SELECT deliveries.id, deliveries.webhook_id, deliveries.event, deliveries.event_at,
    deliveries.task_id, deliveries.batch_id, deliveries.part, webhooks.owner_id
FROM webhook_deliveries AS deliveries JOIN webhooks ON webhooks.id = deliveries.webhook_id
WHERE deliveries.status = 'waiting' AND deliveries.payload IS NULL AND deliveries.part IS NULL
    AND webhooks.task_id IS NULL
    AND (deliveries.task_id = ANY(CAST(:task_ids AS uuid[]))
        OR deliveries.batch_id = CAST(:batch_id AS uuid)
        OR deliveries.batch_id IN (
            SELECT batch_id FROM tasks WHERE id = ANY(CAST(:task_ids AS uuid[]))))
