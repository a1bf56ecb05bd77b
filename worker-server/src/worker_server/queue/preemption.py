"""Makes way for the first part of a new task where every render is busy with parts of long films.

First parts are next in line already, but a render that has just begun keeps its place for a whole part's time. So the
part that is the least far goes back to wait; its worker learns of it by its next heartbeat. How little is lost is
worked out in docs/decisions/0033.
"""

import uuid

from sqlalchemy import text

from worker_server.db import transaction

# A render this far (percent) has soon made room by itself.
_SOON_DONE = 60

# A part gives way once in its life, and never a first one. Nobody loses by this to an owner for whom something is being
# rendered already, but the owner himself. While other parts wait, no render is idle.
_PREEMPT = text("""
    WITH newcomer AS (
        SELECT id, owner_id, EXISTS (
            SELECT FROM parts WHERE parts.owner_id = tasks.owner_id AND status = 'rendering'
        ) AS is_served
        FROM tasks WHERE id = :task_id AND status = 'processing'
    ), busy AS (
        SELECT parts.task_id, number, owner_id, attempt, progress FROM parts
        WHERE status = 'rendering' AND lease_until > now()
    ), chosen AS (
        SELECT parts.task_id, parts.number FROM parts JOIN busy USING (task_id, number) JOIN newcomer ON true
        WHERE number > 0 AND busy.attempt = 1 AND parts.status = 'rendering'
            AND (busy.owner_id = newcomer.owner_id OR NOT newcomer.is_served)
            AND NOT EXISTS (SELECT FROM busy AS other WHERE other.task_id = newcomer.id)
            AND NOT EXISTS (SELECT FROM busy AS other WHERE other.progress >= :soon_done)
            AND EXISTS (
                SELECT FROM parts AS other JOIN tasks ON tasks.id = other.task_id
                WHERE other.status = 'waiting' AND other.run_after <= now()
                    AND tasks.status = 'processing' AND other.task_id <> newcomer.id
            )
        ORDER BY busy.progress, number DESC
        LIMIT 1 FOR UPDATE OF parts SKIP LOCKED
    )
    UPDATE parts SET status = 'waiting', progress = 0, lease_owner = NULL, lease_until = NULL, updated_at = now()
    FROM chosen WHERE parts.task_id = chosen.task_id AND parts.number = chosen.number
    RETURNING parts.number
""")


def preempt_for(task_id: uuid.UUID) -> bool:
    """Hand one part back for the sake of the task's first one; tell whether there was need."""
    with transaction() as session:
        values = {"task_id": task_id, "soon_done": _SOON_DONE}
        return session.execute(_PREEMPT, values).one_or_none() is not None
