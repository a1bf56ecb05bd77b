"""Batches: tasks that one request has posted together."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_batches()
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON batches TO worker")
    batch = sa.ForeignKey("batches.id", ondelete="SET NULL")
    op.add_column("tasks", sa.Column("batch_id", sa.Uuid, batch))


def downgrade() -> None:
    op.drop_column("tasks", "batch_id")
    op.drop_table("batches")


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("idempotency_body_sha256", sa.String(64)),
        _time_now("created_at"),
    )
    op.create_index("batches_owner_created", "batches", ["owner_id", "created_at", "id"])
    columns, keyed = ["owner_id", "idempotency_key"], sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "batches_idempotency_key", "batches", columns, unique=True, postgresql_where=keyed
    )


def _time_now(name: str) -> sa.Column[Any]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")
    )
