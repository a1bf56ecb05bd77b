-- Requests the removal of unneeded files of the tasks :task_ids. clock_timestamp(), not now(): a
-- removal under way must not delete a request that was made after it began.
INSERT INTO removals (task_id) SELECT unnest(CAST(:task_ids AS uuid[]))
ON CONFLICT (task_id) DO UPDATE SET requested_at = clock_timestamp(), run_after = now(), tries = 0
