-- Due tasks, none while any kind of work is paused; those of one owner oldest first.
SELECT id::text, owner_id FROM tasks
WHERE status = 'queued' AND run_after <= now()
    AND NOT EXISTS (SELECT FROM queue_pauses)
ORDER BY owner_id, created_at LIMIT :limit
