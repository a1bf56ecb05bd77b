-- Asks for the removal of files of the tasks :task_ids. A later request than the one that is being
-- worked off just now is not answered by it: hence the clock, not the transaction's time.
INSERT INTO removals (task_id) SELECT unnest(CAST(:task_ids AS uuid[]))
ON CONFLICT (task_id) DO UPDATE SET requested_at = clock_timestamp(), run_after = now(), tries = 0
