-- Preempts one rendering part, the one with the least progress, for the first part of the task
-- :task_id. Only where that first part would wait: none of the task's parts renders, no render is
-- at :nearly_done percent or more, and other parts wait (so no render slot is idle). A part is
-- preempted once in its life (attempt = 1), a first part never, and another owner's part only for
-- an owner who has nothing rendering. None while renders are paused: no worker would claim the slot.
WITH new_task AS (
    SELECT id, owner_id, EXISTS (
        SELECT FROM parts WHERE parts.owner_id = tasks.owner_id AND status = 'rendering'
    ) AS is_served
    FROM tasks WHERE id = :task_id AND status = 'processing'
        AND NOT EXISTS (SELECT FROM queue_pauses WHERE kind = 'render')
), busy AS (
    SELECT parts.task_id, number, owner_id, attempt, progress FROM parts
    WHERE status = 'rendering' AND lease_until > now()
), chosen AS (
    SELECT parts.task_id, parts.number FROM parts JOIN busy USING (task_id, number) JOIN new_task ON true
    WHERE number > 0 AND busy.attempt = 1 AND parts.status = 'rendering'
        AND (busy.owner_id = new_task.owner_id OR NOT new_task.is_served)
        AND NOT EXISTS (SELECT FROM busy AS other WHERE other.task_id = new_task.id)
        AND NOT EXISTS (SELECT FROM busy AS other WHERE other.progress >= :nearly_done)
        AND EXISTS (
            SELECT FROM parts AS other JOIN tasks ON tasks.id = other.task_id
            WHERE other.status = 'waiting' AND other.run_after <= now()
                AND tasks.status = 'processing' AND other.task_id <> new_task.id
        )
    ORDER BY busy.progress, number DESC
    LIMIT 1 FOR UPDATE OF parts SKIP LOCKED
)
UPDATE parts SET status = 'waiting', progress = 0, lease_owner = NULL, lease_until = NULL, updated_at = now()
FROM chosen WHERE parts.task_id = chosen.task_id AND parts.number = chosen.number
RETURNING parts.task_id, parts.number, parts.attempt
