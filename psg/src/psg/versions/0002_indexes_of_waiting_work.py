"""Indexes of waiting work by owner: a claim's cost does not depend on how much there is.

They are built CONCURRENTLY, so that no write waits; the old ones are dropped after that.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Index = tuple[str, str, list[str], str]

_LIVE = "status IN ('downloading', 'processing', 'canceling')"
OLD: list[Index] = [
    ("tasks_queued", "tasks", ["created_at"], "status IN ('queued')"),
    ("tasks_live", "tasks", ["id"], _LIVE),
    ("parts_waiting", "parts", ["number", "created_at"], "status = 'waiting'"),
]
# run_after last: work that has to wait is skipped without reading its row.
NEW: list[Index] = [
    (
        "tasks_queued_by_owner",
        "tasks",
        ["owner_id", "created_at", "run_after"],
        "status = 'queued'",
    ),
    ("tasks_live_by_status", "tasks", ["status", "id"], _LIVE),
    (
        "parts_waiting_by_owner",
        "parts",
        ["owner_id", "number", "created_at", "run_after"],
        "status = 'waiting'",
    ),
]


def upgrade() -> None:
    _replace(OLD, NEW)
    # Each claim leaves a dead entry at the front of its index, which later claims have to
    # skip. By default autovacuum removes them only once a fifth of all rows is dead.
    for table in ("tasks", "parts"):
        op.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.01)")


def downgrade() -> None:
    for table in ("tasks", "parts"):
        op.execute(f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor)")
    _replace(NEW, OLD)


def _replace(old: list[Index], new: list[Index]) -> None:
    """Build the new ones, then drop the old ones. Safe to repeat after it was interrupted."""
    with op.get_context().autocommit_block():
        for name, table, columns, where in new:
            # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index of this name.
            _drop(name)
            op.create_index(
                name, table, columns, postgresql_where=sa.text(where), postgresql_concurrently=True
            )
        for name, *_ in old:
            _drop(name)


def _drop(name: str) -> None:
    op.drop_index(name, postgresql_concurrently=True, if_exists=True)
