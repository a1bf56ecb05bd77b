-- Deletes what is beyond :kept events of any live task, oldest first. Rows that are locked are left
-- to the deletion that locks them. The statuses are those of two partial indexes of tasks: events of
-- tasks that have ended, which only become more, are not read.
WITH too_many AS MATERIALIZED (
    SELECT id FROM tasks
    WHERE (status = 'queued' OR status IN ('downloading', 'planned', 'processing', 'canceling'))
        AND (SELECT count(*) FROM task_events WHERE task_id = tasks.id) > :kept
)
DELETE FROM task_events WHERE id IN (
    SELECT id FROM task_events WHERE id IN (
        SELECT beyond.id FROM too_many CROSS JOIN LATERAL (
            SELECT task_events.id FROM task_events WHERE task_id = too_many.id
            ORDER BY position DESC NULLS FIRST, id DESC OFFSET :kept
        ) AS beyond
    ) FOR UPDATE SKIP LOCKED
)
