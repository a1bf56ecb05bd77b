"""Rows that the worker machine owns: tasks and their parts."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from worker_server.queue.statuses import LIVE_TASKS, PartStatus, TaskStatus

IDEMPOTENCY_INDEX = "tasks_idempotency_key"


def _one_of(values: Iterable[TaskStatus | PartStatus]) -> str:
    return f"status IN ({', '.join(repr(str(value)) for value in values)})"


class Base(DeclarativeBase):
    """The metadata of the worker machine's tables; `psg` owns their schema."""

    registry = registry(
        type_annotation_map={str: Text, datetime: DateTime(timezone=True), dict[str, Any]: JSONB},
    )


class Work:
    """The columns that a task and a part share: progress, lease, failures, times.

    `attempt` is a fencing token: every claim raises it, and every write of a worker names the attempt of its lease.
    `failures` counts the attempts that failed by the source's or the caller's fault.
    """

    progress: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    failures: Mapped[int] = mapped_column(server_default="0")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Task(Work, Base):
    """One accepted URL. `source` is the probed source as `media.Source.to_json` gives it; paths are below the share."""

    __tablename__ = "tasks"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    url: Mapped[str]
    status: Mapped[str] = mapped_column(String(11), server_default=TaskStatus.QUEUED)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    idempotency_body_sha256: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))
    source: Mapped[dict[str, Any] | None]
    source_path: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_one_of(TaskStatus), name="tasks_status_check"),
        Index("tasks_owner_created", "owner_id", "created_at", "id"),
        Index("tasks_owner_started", "owner_id", "started_at"),
        Index(
            "tasks_queued_by_owner",
            "owner_id",
            "created_at",
            "run_after",
            postgresql_where=text(_one_of([TaskStatus.QUEUED])),
        ),
        Index(
            "tasks_live_by_status",
            "status",
            "id",
            postgresql_where=text(_one_of(LIVE_TASKS[1:])),
        ),
        Index(
            IDEMPOTENCY_INDEX,
            "owner_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )


class Part(Work, Base):
    """One clip of a task: the frames `[start_frame, end_frame)` of the source's constant-rate grid."""

    __tablename__ = "parts"

    task_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    start_frame: Mapped[int] = mapped_column(BigInteger)
    end_frame: Mapped[int] = mapped_column(BigInteger)
    start_s: Mapped[float] = mapped_column(Double)
    end_s: Mapped[float] = mapped_column(Double)
    status: Mapped[str] = mapped_column(String(9), server_default=PartStatus.WAITING)
    path: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    frames: Mapped[int | None]
    rendered_by: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_one_of(PartStatus), name="parts_status_check"),
        CheckConstraint("rendered_by IN ('copy', 'encode')", name="parts_rendered_by_check"),
        Index(
            "parts_waiting_by_owner",
            "owner_id",
            "number",
            "created_at",
            "run_after",
            postgresql_where=text(_one_of([PartStatus.WAITING])),
        ),
        Index("parts_rendering", "task_id", postgresql_where=text(_one_of([PartStatus.RENDERING]))),
        Index("parts_owner_started", "owner_id", "started_at"),
    )
