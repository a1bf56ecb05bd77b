"""Indexes that any page of any list of tasks is read from: each ends with the lists' order.

They are built CONCURRENTLY, so that no write waits.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Name, columns, condition.
INDEXES = (
    ("tasks_owner_status", ["owner_id", "status", "created_at", "id"], None),
    (
        "tasks_external_id",
        ["owner_id", "external_id", "created_at", "id"],
        "external_id IS NOT NULL",
    ),
    ("tasks_batch", ["batch_id", "created_at", "id"], "batch_id IS NOT NULL"),
)


def upgrade() -> None:
    """Build the indexes. Safe to repeat after it was interrupted."""
    with op.get_context().autocommit_block():
        for name, columns, where in INDEXES:
            # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index of this name.
            _drop(name)
            op.create_index(
                name,
                "tasks",
                columns,
                postgresql_where=sa.text(where) if where else None,
                postgresql_concurrently=True,
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, *_ in INDEXES:
            _drop(name)


def _drop(name: str) -> None:
    op.drop_index(name, postgresql_concurrently=True, if_exists=True)
