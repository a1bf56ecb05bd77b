-- Lists the leases that have run out; number is NULL for a task's own lease.
-- None within one lease (:lease_s seconds) of PostgreSQL's start: while it was down, no
-- worker could renew. A start in the future is one before the clock was set back.
SELECT id AS task_id, attempt, NULL AS number, lease_owner AS worker FROM tasks
WHERE status IN ('downloading', 'canceling') AND lease_until < now()
    AND now() NOT BETWEEN pg_postmaster_start_time()
        AND pg_postmaster_start_time() + make_interval(secs => :lease_s)
UNION ALL
SELECT task_id, attempt, number, lease_owner FROM parts
WHERE status = 'rendering' AND lease_until < now()
    AND now() NOT BETWEEN pg_postmaster_start_time()
        AND pg_postmaster_start_time() + make_interval(secs => :lease_s)
