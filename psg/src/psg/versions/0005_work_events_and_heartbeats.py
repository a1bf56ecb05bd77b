"""Events and receipts of tasks, removals, and heartbeats of workers and the sweeper.

Only additions, so that the previous release keeps working during the update.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("task_events", "removals", "workers", "sweeps", "queue_pauses")
RECEIPTS = ("waiting_since", "cancel_requested_at", "canceled_in_ms", "freed_bytes")


def upgrade() -> None:
    op.add_column("tasks", _time("waiting_since", nullable=True))
    op.add_column("tasks", _time("cancel_requested_at", nullable=True))
    op.add_column("tasks", sa.Column("canceled_in_ms", sa.Integer))
    op.add_column("tasks", sa.Column("freed_bytes", sa.BigInteger))
    _create_events()
    op.create_table(
        "removals",
        sa.Column("task_id", sa.Uuid, primary_key=True),
        _time_now("requested_at"),
        _time_now("run_after"),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("freed_bytes", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("removals_run_after", "removals", ["run_after"])
    _create_heartbeats()
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO worker")


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    for column in RECEIPTS:
        op.drop_column("tasks", column)


def _create_events() -> None:
    op.create_table(
        "task_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "task_id", sa.Uuid, sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False
        ),
        _time_now("at"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("part", sa.Integer),
        sa.Column("attempt", sa.Integer),
        sa.Column("worker", sa.Text),
        sa.Column("code", sa.Text),
    )
    op.create_index("task_events_task", "task_events", ["task_id", "id"])
    lost = sa.text("kind = 'lease_lost'")
    op.create_index("task_events_lease_lost", "task_events", ["at"], postgresql_where=lost)


def _create_heartbeats() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kinds", sa.ARRAY(sa.Text), nullable=False),
        _time_now("started_at"),
        _time_now("seen_at"),
        sa.Column("fault_code", sa.Text),
        _time("fault_at", nullable=True),
    )
    op.create_table(
        "sweeps",
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("worker", sa.Text, nullable=False),
        _time_now("done_at"),
        _time("failed_at", nullable=True),
        sa.Column("error", sa.Text),
    )
    op.create_table(
        "queue_pauses", sa.Column("kind", sa.Text, primary_key=True), _time_now("paused_at")
    )


def _time_now(name: str) -> sa.Column[Any]:
    return _time(name, nullable=False, server_default=sa.text("now()"))


def _time(name: str, **options: Any) -> sa.Column[Any]:  # noqa: ANN401 # Column's own
    return sa.Column(name, sa.DateTime(timezone=True), **options)
