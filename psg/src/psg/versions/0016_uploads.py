"""Uploads: files that callers send instead of a URL."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("length_bytes", sa.BigInteger, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("task_id", sa.Uuid),
        _time("created_at", server_default=sa.text("now()"), nullable=False),
        _time("expires_at", nullable=False),
        _time("deleted_at"),
        _time("removed_at"),
    )
    op.create_index("uploads_owner_created", "uploads", ["owner_id", "created_at"])
    has_file = sa.text("removed_at IS NULL")
    op.create_index("uploads_with_file", "uploads", ["expires_at"], postgresql_where=has_file)
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON uploads TO worker")


def downgrade() -> None:
    op.drop_table("uploads")


def _time(name: str, **options: Any) -> sa.Column[Any]:  # noqa: ANN401 # sqlalchemy's own
    return sa.Column(name, sa.DateTime(timezone=True), **options)
