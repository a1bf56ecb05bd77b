-- Claims the next queued task in fair order, for :worker, with a lease of :lease_s seconds.
-- The owner who holds the fewest leases goes first, then the one with the fewest claims in the last ten
-- minutes, then the oldest task.
-- heads steps from owner to owner through the index of queued tasks, so a claim costs as much as
-- there are owners with queued tasks and leases, however many tasks each has. owners is in fair
-- order; the first task that no other claim locks is taken. Time in the queue after it was due is no
-- time that its source was unavailable: the queue was long, work was paused or the machines were
-- off.
WITH RECURSIVE heads AS (
    (SELECT owner_id, created_at FROM tasks WHERE status = 'queued' AND run_after <= now()
    ORDER BY owner_id, created_at LIMIT 1)
    UNION ALL
    SELECT next.* FROM heads CROSS JOIN LATERAL (
        SELECT owner_id, created_at FROM tasks
        WHERE status = 'queued' AND run_after <= now() AND owner_id > heads.owner_id
        ORDER BY owner_id, created_at LIMIT 1
    ) AS next
), leased AS MATERIALIZED (
    SELECT owner_id, count(*) AS leases FROM tasks
    WHERE status = 'downloading' AND lease_until > now() GROUP BY owner_id
), chosen AS (
    SELECT head_row.id FROM (
        SELECT owner_id FROM heads LEFT JOIN leased USING (owner_id) ORDER BY coalesce(leases, 0), (
            SELECT count(*) FROM tasks AS recent
            WHERE recent.owner_id = heads.owner_id AND recent.started_at > now() - interval '10 minutes'
        ), heads.created_at
    ) AS owners CROSS JOIN LATERAL (
        SELECT id FROM tasks WHERE owner_id = owners.owner_id AND status = 'queued' AND run_after <= now()
        ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS head_row LIMIT 1
)
UPDATE tasks SET status = 'downloading', attempt = attempt + 1, lease_owner = :worker, progress = 0,
    lease_until = now() + make_interval(secs => :lease_s),
    started_at = coalesce(started_at, now()), updated_at = now(),
    waiting_since = waiting_since + (now() - least(now(), greatest(run_after, updated_at)))
FROM chosen WHERE tasks.id = chosen.id
RETURNING tasks.id AS task_id, tasks.attempt, tasks.lease_owner AS worker, tasks.url,
    tasks.request_id, tasks.traceparent, tasks.edit, tasks.source, tasks.source_path
