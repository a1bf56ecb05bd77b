-- Tasks that wait and are not paused, each owner's in the order of their turns.
SELECT id::text, owner_id FROM tasks
WHERE status = 'queued' AND run_after <= now()
    AND NOT EXISTS (SELECT FROM queue_pauses)
ORDER BY owner_id, created_at LIMIT :limit
