"""Users, tasks and parts, each granted to the one role that owns it."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TASK_STATUSES = ("queued", "downloading", "processing", "done", "failed", "canceling", "canceled")
PART_STATUSES = ("waiting", "rendering", "done", "failed")


def upgrade() -> None:
    _create_users()
    _create_tasks()
    _create_parts()
    op.execute("GRANT SELECT, INSERT, UPDATE ON users TO web")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON tasks, parts TO worker")


def downgrade() -> None:
    for table in ("parts", "tasks", "users"):
        op.drop_table(table)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        _time("created_at", now=True),
    )
    # The web app tells by the violated index whether the name or the email is taken.
    op.create_index("users_username_key", "users", [sa.text("lower(username)")], unique=True)
    op.create_index("users_email_key", "users", [sa.text("lower(email)")], unique=True)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        _status("queued", TASK_STATUSES),
        *_work_columns(),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("idempotency_body_sha256", sa.String(64)),
        sa.Column("request_id", sa.String(64)),
        sa.Column("source", postgresql.JSONB),
        sa.Column("source_path", sa.Text),
        *_time_columns(),
        sa.CheckConstraint(_one_of("status", TASK_STATUSES), name="tasks_status_check"),
    )
    op.create_index("tasks_owner_created", "tasks", ["owner_id", "created_at", "id"])
    keyed = sa.text("idempotency_key IS NOT NULL")
    columns = ["owner_id", "idempotency_key"]
    op.create_index("tasks_idempotency_key", "tasks", columns, unique=True, postgresql_where=keyed)
    for name, column, statuses in (
        ("tasks_queued", "created_at", "'queued'"),
        ("tasks_live", "id", "'downloading', 'processing', 'canceling'"),
    ):
        op.create_index(
            name, "tasks", [column], postgresql_where=sa.text(f"status IN ({statuses})")
        )
    op.create_index("tasks_owner_started", "tasks", ["owner_id", "started_at"])


def _create_parts() -> None:
    op.create_table(
        "parts",
        sa.Column(
            "task_id", sa.Uuid, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("start_frame", sa.BigInteger, nullable=False),
        sa.Column("end_frame", sa.BigInteger, nullable=False),
        sa.Column("start_s", sa.Double, nullable=False),
        sa.Column("end_s", sa.Double, nullable=False),
        _status("waiting", PART_STATUSES),
        *_work_columns(),
        sa.Column("path", sa.Text),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
        sa.Column("frames", sa.Integer),
        *_time_columns(),
        sa.CheckConstraint(_one_of("status", PART_STATUSES), name="parts_status_check"),
    )
    op.create_index(
        "parts_waiting",
        "parts",
        ["number", "created_at"],
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index(
        "parts_rendering", "parts", ["task_id"], postgresql_where=sa.text("status = 'rendering'")
    )
    op.create_index("parts_owner_started", "parts", ["owner_id", "started_at"])


def _status(default: str, statuses: tuple[str, ...]) -> sa.Column[str]:
    return sa.Column(
        "status", sa.String(max(map(len, statuses))), nullable=False, server_default=default
    )


def _work_columns() -> list[sa.Column[Any]]:
    """Return the columns that tasks and parts share: lease, attempt, progress, error."""
    return [
        sa.Column("progress", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.Text),
        _time("lease_until"),
        _time("run_after", now=True),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
    ]


def _time_columns() -> list[sa.Column[Any]]:
    return [
        _time("created_at", now=True),
        _time("started_at"),
        _time("finished_at"),
        _time("updated_at", now=True),
    ]


def _time(name: str, *, now: bool = False) -> sa.Column[Any]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=default)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"
