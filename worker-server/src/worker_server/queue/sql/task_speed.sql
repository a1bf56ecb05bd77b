-- Mean seconds of the done ones of the last 50 tasks that ended within a day, and how many run now.
-- A task that was started by its owner is timed from that start.
SELECT
    avg(extract(epoch FROM finished_at - coalesce(start_requested_at, started_at)))::float
        AS task_s,
    (SELECT count(*) FROM tasks WHERE status IN ('downloading', 'processing')) AS running
FROM (
    SELECT status, started_at, start_requested_at, finished_at FROM tasks
    WHERE finished_at > now() - interval '1 day' AND NOT keep
    ORDER BY finished_at DESC LIMIT 50
) AS ended
WHERE status = 'done'
