"""Indexes for what scanned whole tables: old and waiting deliveries, bytes and files of accounts.

They are built CONCURRENTLY, so that no write waits.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_UNSENT = "status = 'waiting' AND payload IS NULL"
# Name, table, columns, condition, included column.
INDEXES = (
    (
        "webhook_deliveries_waiting",
        "webhook_deliveries",
        ["webhook_id", "run_after"],
        "status = 'waiting'",
        None,
    ),
    ("webhook_deliveries_unsent_task", "webhook_deliveries", ["task_id"], _UNSENT, None),
    ("webhook_deliveries_unsent_batch", "webhook_deliveries", ["batch_id"], _UNSENT, None),
    ("webhook_deliveries_ended", "webhook_deliveries", ["event_at"], "status <> 'waiting'", None),
    ("parts_owner_bytes", "parts", ["owner_id"], "size_bytes IS NOT NULL", "size_bytes"),
    ("uploads_owner_with_file", "uploads", ["owner_id", "created_at"], "removed_at IS NULL", None),
)


def upgrade() -> None:
    """Build the indexes. Safe to repeat after it was interrupted."""
    with op.get_context().autocommit_block():
        for name, table, columns, where, included in INDEXES:
            # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index of this name.
            _drop(name)
            op.create_index(
                name,
                table,
                columns,
                postgresql_where=sa.text(where),
                postgresql_include=[included] if included else None,
                postgresql_concurrently=True,
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, *_ in INDEXES:
            _drop(name)


def _drop(name: str) -> None:
    op.drop_index(name, postgresql_concurrently=True, if_exists=True)
