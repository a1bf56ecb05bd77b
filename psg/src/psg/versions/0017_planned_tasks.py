"""Tasks that wait, planned, until their caller starts them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_LIVE = "tasks_live_by_status"
_PLANNED = "tasks_planned"
_STATUSES = ("queued", "downloading", "processing", "done", "failed", "canceling", "canceled")


def upgrade() -> None:
    """Add columns, status and indexes. Safe to repeat after it was interrupted."""
    op.execute("""
        ALTER TABLE tasks ADD COLUMN IF NOT EXISTS starts_manually boolean NOT NULL DEFAULT false,
            ADD COLUMN IF NOT EXISTS planned_at timestamptz,
            ADD COLUMN IF NOT EXISTS start_requested_at timestamptz,
            ADD COLUMN IF NOT EXISTS planned_s double precision
    """)
    _allow([*_STATUSES, "planned"])
    _index(_LIVE, ["status", "id"], ["downloading", "planned", "processing", "canceling"])
    _index(_PLANNED, ["planned_at"], ["planned"])


def downgrade() -> None:
    """Start the tasks that wait for it: the previous release does not know the status."""
    op.execute("""
        UPDATE parts SET run_after = now() FROM tasks
        WHERE tasks.id = parts.task_id AND tasks.status = 'planned'
    """)
    op.execute("UPDATE tasks SET status = 'processing' WHERE status = 'planned'")
    _allow(_STATUSES)
    _index(_LIVE, ["status", "id"], ["downloading", "processing", "canceling"])
    with op.get_context().autocommit_block():
        op.drop_index(_PLANNED, postgresql_concurrently=True, if_exists=True)
    for column in ("starts_manually", "planned_at", "start_requested_at", "planned_s"):
        op.drop_column("tasks", column)


def _allow(statuses: Sequence[str]) -> None:
    name = "tasks_status_check"
    op.drop_constraint(name, "tasks", type_="check", if_exists=True)
    op.create_check_constraint(name, "tasks", _one_of(statuses), postgresql_not_valid=True)
    # By itself VALIDATE lets others read and write during its scan. In this transaction it would
    # run under the ACCESS EXCLUSIVE lock that DROP took.
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE tasks VALIDATE CONSTRAINT {name}")


def _index(name: str, columns: Sequence[str], statuses: Sequence[str]) -> None:
    with op.get_context().autocommit_block():
        # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index of this name.
        op.drop_index(name, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            name,
            "tasks",
            list(columns),
            postgresql_where=sa.text(_one_of(statuses)),
            postgresql_concurrently=True,
        )


def _one_of(statuses: Sequence[str]) -> str:
    return f"status IN ({', '.join(repr(status) for status in statuses)})"
