-- Claims the next waiting part in fair order, for :worker, with a lease of :lease_s seconds.
-- Owners are in fair order as in claim_task.sql; then the lowest number of any task goes first, so that
-- the first clips of a short video do not wait for the end of a long one. The task's row is not
-- locked: the first heartbeat of a part that was claimed while its task was being canceled tells
-- the worker to stop. `live_parts`: this part and all others that wait or are rendered, on any
-- machine, without those of planned tasks, which wait for their callers; each count ends at 8.
-- Parts of sources with a side of more than :max_side pixels are left out; NULL: none is.
WITH RECURSIVE heads AS (
    (SELECT owner_id, number, created_at FROM parts WHERE status = 'waiting' AND run_after <= now()
    ORDER BY owner_id, number, created_at LIMIT 1)
    UNION ALL
    SELECT next.* FROM heads CROSS JOIN LATERAL (
        SELECT owner_id, number, created_at FROM parts
        WHERE status = 'waiting' AND run_after <= now() AND owner_id > heads.owner_id
        ORDER BY owner_id, number, created_at LIMIT 1
    ) AS next
), left_out AS MATERIALIZED (
    SELECT id FROM tasks WHERE status = 'processing' AND CAST(:max_side AS integer) IS NOT NULL
        AND greatest((source->>'width')::integer, (source->>'height')::integer) > :max_side
), leased AS MATERIALIZED (
    SELECT owner_id, count(*) AS leases FROM parts
    WHERE status = 'rendering' AND lease_until > now() GROUP BY owner_id
), chosen AS (
    SELECT head_row.task_id, head_row.number FROM (
        SELECT owner_id FROM heads LEFT JOIN leased USING (owner_id) ORDER BY coalesce(leases, 0), (
            SELECT count(*) FROM parts AS recent
            WHERE recent.owner_id = heads.owner_id AND recent.started_at > now() - interval '10 minutes'
        ), number, created_at
    ) AS owners CROSS JOIN LATERAL (
        SELECT task_id, number FROM parts WHERE owner_id = owners.owner_id AND status = 'waiting'
            AND run_after <= now() AND (SELECT status = 'processing' FROM tasks WHERE id = parts.task_id)
            AND task_id NOT IN (SELECT id FROM left_out)
        ORDER BY number, created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS head_row LIMIT 1
)
UPDATE parts SET status = 'rendering', attempt = parts.attempt + 1, lease_owner = :worker, progress = 0,
    lease_until = now() + make_interval(secs => :lease_s),
    started_at = coalesce(parts.started_at, now()), updated_at = now()
FROM chosen JOIN tasks ON tasks.id = chosen.task_id
WHERE parts.task_id = chosen.task_id AND parts.number = chosen.number
RETURNING parts.task_id, parts.number, parts.attempt, parts.lease_owner AS worker,
    parts.start_frame, parts.end_frame,
    tasks.source, tasks.source_path, tasks.request_id, tasks.traceparent, tasks.edit - 'segments' AS edit,
    tasks.owner_id, (
        SELECT count(*) FROM (SELECT FROM parts WHERE status = 'waiting' AND run_after < 'infinity' ORDER BY owner_id, number, created_at LIMIT 8) AS first
    ) + (
        SELECT count(*) FROM (SELECT FROM parts WHERE status = 'rendering' ORDER BY lease_until LIMIT 8) AS first
    ) AS live_parts
