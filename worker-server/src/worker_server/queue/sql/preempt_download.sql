-- Preempts one download of an owner who holds more than half of all downloads while another
-- owner's task has been due for :waited_s seconds: the one with the least progress. It waits for
-- :pause_s seconds. A task that is due for seconds has found no free slot, so the slots need not be
-- counted; while downloads are paused, no worker claims.
WITH leased AS (
    SELECT owner_id, count(*) AS downloads, sum(count(*)) OVER () AS total FROM tasks
    WHERE status = 'downloading' AND lease_until > now() GROUP BY owner_id
), heaviest_owner AS (
    SELECT owner_id FROM leased WHERE downloads > greatest(1, total / 2.0)
        AND NOT EXISTS (SELECT FROM queue_pauses WHERE kind = 'fetch') AND EXISTS (
        SELECT FROM tasks AS other WHERE other.status = 'queued' AND other.owner_id <> leased.owner_id
            AND greatest(other.run_after, other.created_at) < now() - make_interval(secs => :waited_s)
    )
), chosen AS (
    SELECT tasks.id FROM tasks JOIN heaviest_owner USING (owner_id)
    WHERE status = 'downloading' AND lease_until > now()
    ORDER BY progress, started_at DESC LIMIT 1 FOR UPDATE OF tasks SKIP LOCKED
)
UPDATE tasks SET status = 'queued', progress = 0, lease_owner = NULL, lease_until = NULL, updated_at = now(),
    run_after = now() + make_interval(secs => :pause_s)
FROM chosen WHERE tasks.id = chosen.id
RETURNING tasks.id AS task_id, tasks.attempt
