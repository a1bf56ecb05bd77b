-- Of the last 50 tasks that ended within a day, the mean seconds that the done ones took; and how
-- many tasks run now. A planned task is timed from its owner's start; one during which the clock
-- was set back took no time. NOT keep is the condition of the partial index tasks_finished.
SELECT
    avg(greatest(extract(epoch FROM finished_at - coalesce(start_requested_at, started_at)), 0))::float
        AS task_s,
    (SELECT count(*) FROM tasks WHERE status IN ('downloading', 'processing')) AS running
FROM (
    SELECT status, started_at, start_requested_at, finished_at FROM tasks
    WHERE finished_at > now() - interval '1 day' AND NOT keep
    ORDER BY finished_at DESC LIMIT 50
) AS ended
WHERE status = 'done'
