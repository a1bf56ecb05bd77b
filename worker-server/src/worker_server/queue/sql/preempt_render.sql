-- Preempts one rendering part of an owner who holds more than half of all renders while a part of
-- an owner without any has been due for :waited_s seconds: the one with the least progress, unless
-- one is at :nearly_done percent or more. A part of the fourth attempt or a later one is left alone,
-- so that preemption ends. None while renders are paused: no worker would claim the slot. Nor for a part
-- whose pictures have a side of more than :max_side pixels while such a one is rendered: a machine
-- renders one of them at a time.
WITH leased AS (
    SELECT owner_id, count(*) AS renders, sum(count(*)) OVER () AS total, max(progress) AS furthest
    FROM parts WHERE status = 'rendering' AND lease_until > now() GROUP BY owner_id
), large AS (
    SELECT id FROM tasks WHERE status = 'processing'
        AND greatest((source->>'width')::integer, (source->>'height')::integer) > :max_side
), unserved AS (
    SELECT FROM parts AS other JOIN tasks ON tasks.id = other.task_id
    WHERE other.status = 'waiting' AND tasks.status = 'processing'
        AND greatest(other.run_after, other.created_at) < now() - make_interval(secs => :waited_s)
        AND NOT EXISTS (SELECT FROM leased WHERE leased.owner_id = other.owner_id)
        AND (other.task_id NOT IN (SELECT id FROM large) OR NOT EXISTS (
            SELECT FROM parts WHERE status = 'rendering' AND lease_until > now()
                AND task_id IN (SELECT id FROM large)))
    LIMIT 1
), heaviest_owner AS (
    SELECT owner_id FROM leased WHERE renders > greatest(1, total / 2.0)
        AND EXISTS (SELECT FROM unserved)
        AND NOT EXISTS (SELECT FROM queue_pauses WHERE kind = 'render')
        AND (SELECT max(furthest) FROM leased) < :nearly_done
), chosen AS (
    SELECT task_id, number FROM parts JOIN heaviest_owner USING (owner_id)
    WHERE status = 'rendering' AND lease_until > now() AND attempt <= 3
    ORDER BY progress, number DESC LIMIT 1 FOR UPDATE OF parts SKIP LOCKED
)
UPDATE parts SET status = 'waiting', progress = 0, lease_owner = NULL, lease_until = NULL, updated_at = now()
FROM chosen WHERE parts.task_id = chosen.task_id AND parts.number = chosen.number
RETURNING parts.task_id, parts.number, parts.attempt
