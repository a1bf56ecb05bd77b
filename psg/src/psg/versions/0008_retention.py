"""How long finished tasks are kept, and which of them their owners keep for longer."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEX = "tasks_finished"
_WHERE = "finished_at IS NOT NULL AND NOT keep"


def upgrade() -> None:
    """Add column, table and index. Safe to repeat after it was interrupted."""
    op.execute("ALTER TABLE tasks ADD COLUMN IF NOT EXISTS keep boolean NOT NULL DEFAULT false")
    op.create_table(
        "retention",
        # One row at most.
        sa.Column("id", sa.Boolean, sa.CheckConstraint("id"), primary_key=True),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        if_not_exists=True,
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON retention TO worker")
    with op.get_context().autocommit_block():
        # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index of this name.
        op.drop_index(_INDEX, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            _INDEX,
            "tasks",
            ["finished_at"],
            postgresql_where=sa.text(_WHERE),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(_INDEX, postgresql_concurrently=True, if_exists=True)
    op.drop_table("retention")
    op.drop_column("tasks", "keep")
