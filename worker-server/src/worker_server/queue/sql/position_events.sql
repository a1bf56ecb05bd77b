-- Gives the task's committed events without a position one each: the row's id where it is above all
-- positions of the task, else the sequence's next value, which is above all ids. The caller holds the
-- task's advisory lock, so that positions are committed in ascending order. Rows that are being
-- deleted are skipped.
WITH given AS (
    SELECT coalesce(max(position), 0) AS last FROM task_events WHERE task_id = :task_id
), unread AS (
    SELECT id FROM task_events WHERE task_id = :task_id AND position IS NULL
    ORDER BY id FOR UPDATE SKIP LOCKED
), positioned AS MATERIALIZED (
    SELECT id, CASE WHEN id > given.last THEN id
        ELSE nextval(pg_get_serial_sequence('task_events', 'id')) END AS position
    FROM unread CROSS JOIN given ORDER BY id
)
UPDATE task_events SET position = positioned.position FROM positioned WHERE task_events.id = positioned.id
