"""Totals for Prometheus, the scratch space that workers report, and the trace of a task."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metric_increments",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        *_labeled(),
        sa.Column("amount", sa.Double, nullable=False),
    )
    op.create_table(
        "metric_totals",
        *_labeled(primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.Double, nullable=False),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON metric_increments, metric_totals TO worker")
    op.add_column("workers", sa.Column("scratch_free_bytes", sa.BigInteger))
    op.add_column("tasks", sa.Column("traceparent", sa.String(55)))


def downgrade() -> None:
    op.drop_column("tasks", "traceparent")
    op.drop_column("workers", "scratch_free_bytes")
    op.drop_table("metric_totals")
    op.drop_table("metric_increments")


def _labeled(**options: Any) -> list[sa.Column[Any]]:  # noqa: ANN401 # Column's own
    """Return the columns that name a sample; `bucket` is 0 for a counter."""
    return [
        sa.Column("metric", sa.Text, nullable=False, **options),
        sa.Column("labels", sa.ARRAY(sa.Text), nullable=False, **options),
        sa.Column("bucket", sa.SmallInteger, nullable=False, **options),
    ]
