-- Of the :limit uploads whose ids follow :after, deletes those whose files were removed :hours ago
-- and that no task names, but for locked ones; returns the last of those ids, null after the last
-- upload.
WITH page AS MATERIALIZED (
    SELECT id, task_id, removed_at FROM uploads WHERE id > CAST(:after AS uuid)
    ORDER BY id LIMIT :limit
), unneeded AS MATERIALIZED (
    SELECT id FROM page WHERE removed_at < now() - make_interval(hours => :hours)
        AND (SELECT id FROM tasks WHERE tasks.id = page.task_id) IS NULL
), deleted AS (
    DELETE FROM uploads WHERE id IN (
        SELECT id FROM uploads WHERE id IN (SELECT id FROM unneeded) FOR UPDATE SKIP LOCKED
    )
)
SELECT id FROM page ORDER BY id DESC LIMIT 1
