"""What accounts use a day, and quotas of one account, which the worker machine may read."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_FAILED = "tasks_failed"


def upgrade() -> None:
    """Add table, rights and index. Safe to repeat after it was interrupted."""
    op.create_table(
        "usage_days",
        sa.Column("owner_id", sa.BigInteger, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        *(_seconds(name) for name in ("planned_s", "rendered_s", "timed_s", "busy_s")),
        if_not_exists=True,
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON usage_days TO worker")
    # Deleting an account deletes these rows too.
    op.execute("GRANT SELECT (owner_id), DELETE ON usage_days TO web")
    op.execute("GRANT SELECT (id, quotas) ON users TO worker")
    with op.get_context().autocommit_block():
        op.drop_index(_FAILED, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            _FAILED,
            "tasks",
            ["finished_at"],
            postgresql_where=sa.text("status = 'failed'"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(_FAILED, postgresql_concurrently=True, if_exists=True)
    op.execute("REVOKE SELECT (id, quotas) ON users FROM worker")
    op.drop_table("usage_days")


def _seconds(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Double, nullable=False, server_default="0")
