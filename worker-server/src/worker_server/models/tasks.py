"""Tasks, their batches, parts and events, and the removal of their files."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    String,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from worker_server.models.base import Base, Work, one_of
from worker_server.models.statuses import LIVE_AFTER_QUEUE, PartStatus, TaskStatus


class Task(Work, Base):
    """One accepted URL.

    `source` is the probed source as `media.Source.to_json` gives it; paths are below the share.

    `waiting_since`: when the source became unavailable; a claim moves it by the time in the queue.
    `canceled_in_ms` and `freed_bytes` are the receipt of a cancel: from the request until nothing
    of the task was left. `keep` exempts the task from RETENTION_DAYS.
    """

    __tablename__ = "tasks"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    url: Mapped[str]
    name: Mapped[str | None]  # null: tasks of 0.1.0; the URL's file name is shown
    external_id: Mapped[str | None]
    edit: Mapped[dict[str, Any] | None]  # null: accepted by a release before 0.2.0
    caller_metadata: Mapped[dict[str, Any] | None] = mapped_column(
        "metadata", JSON(none_as_null=True)
    )
    status: Mapped[str] = mapped_column(String(11), server_default=TaskStatus.QUEUED)
    batch_id: Mapped[uuid.UUID | None] = mapped_column(
        Uuid, ForeignKey("batches.id", ondelete="SET NULL")
    )
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    idempotency_body_sha256: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(55))
    source: Mapped[dict[str, Any] | None]
    source_path: Mapped[str | None]
    waiting_since: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    canceled_in_ms: Mapped[int | None]
    freed_bytes: Mapped[int | None] = mapped_column(BigInteger)
    keep: Mapped[bool] = mapped_column(server_default="false")
    unkept_at: Mapped[datetime | None]  # when `keep` was switched off
    starts_manually: Mapped[bool] = mapped_column(server_default="false")
    planned_at: Mapped[datetime | None]  # set while the status is planned
    start_requested_at: Mapped[datetime | None]
    planned_s: Mapped[float | None] = mapped_column(Double)  # counted towards the day's quota
    callback_url: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(one_of(TaskStatus), name="tasks_status_check"),
        Index("tasks_owner_created", "owner_id", "created_at", "id"),
        Index("tasks_owner_status", "owner_id", "status", "created_at", "id"),
        Index(
            "tasks_external_id",
            "owner_id",
            "external_id",
            "created_at",
            "id",
            postgresql_where=text("external_id IS NOT NULL"),
        ),
        Index(
            "tasks_batch",
            "batch_id",
            "created_at",
            "id",
            postgresql_where=text("batch_id IS NOT NULL"),
        ),
        Index("tasks_owner_started", "owner_id", "started_at"),
        Index(
            "tasks_queued_by_owner",
            "owner_id",
            "created_at",
            "run_after",
            postgresql_where=text(one_of([TaskStatus.QUEUED])),
        ),
        Index(
            "tasks_live_by_status",
            "status",
            "id",
            postgresql_where=text(one_of(LIVE_AFTER_QUEUE)),
        ),
        Index(
            "tasks_finished",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND NOT keep"),
        ),
        Index(
            "tasks_planned",
            "planned_at",
            postgresql_where=text(one_of([TaskStatus.PLANNED])),
        ),
        Index(
            "tasks_failed",
            "finished_at",
            postgresql_where=text(one_of([TaskStatus.FAILED])),
        ),
        Index(
            "tasks_idempotency_key",
            "owner_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )


class Batch(Base):
    """Tasks that one request has posted together."""

    __tablename__ = "batches"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    idempotency_body_sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    callback_url: Mapped[str | None]

    __table_args__ = (
        Index("batches_owner_created", "owner_id", "created_at", "id"),
        Index(
            "batches_idempotency_key",
            "owner_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )


class Part(Work, Base):
    """One clip of a task: frames `[start_frame, end_frame)` of the source's constant grid."""

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
    segment: Mapped[int | None]  # index of the edit's segment; null without segments
    name: Mapped[str | None]  # name of the segment
    status: Mapped[str] = mapped_column(String(9), server_default=PartStatus.WAITING)
    path: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    crc32: Mapped[int | None] = mapped_column(BigInteger)  # null: published before 0.2.0
    frames: Mapped[int | None]
    rendered_by: Mapped[str | None]
    concealed_frames: Mapped[int | None]  # damaged in the source; null before the part is done

    __table_args__ = (
        CheckConstraint(one_of(PartStatus), name="parts_status_check"),
        CheckConstraint("rendered_by IN ('copy', 'encode')", name="parts_rendered_by_check"),
        Index(
            "parts_waiting_by_owner",
            "owner_id",
            "number",
            "created_at",
            "run_after",
            postgresql_where=text(one_of([PartStatus.WAITING])),
        ),
        Index("parts_rendering", "task_id", postgresql_where=text(one_of([PartStatus.RENDERING]))),
        Index("parts_owner_started", "owner_id", "started_at"),
        Index(
            "parts_owner_bytes",
            "owner_id",
            postgresql_include=["size_bytes"],
            postgresql_where=text("size_bytes IS NOT NULL"),
        ),
    )


class TaskEvent(Base):
    """An event of a task or of one of its parts; `worker` is the process it happened in.

    `position`: its place among those that callers were given; null before the first time.
    """

    __tablename__ = "task_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task_id: Mapped[uuid.UUID] = mapped_column(Uuid, ForeignKey("tasks.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str]
    part: Mapped[int | None]
    attempt: Mapped[int | None]
    worker: Mapped[str | None]
    code: Mapped[str | None]
    position: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("task_events_task", "task_id", "id"),
        Index("task_events_lease_lost", "at", postgresql_where=text("kind = 'lease_lost'")),
    )


class Removal(Base):
    """Files of a task that are to be removed: all of them, or those that are no longer needed."""

    __tablename__ = "removals"

    task_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    tries: Mapped[int] = mapped_column(server_default="0")
    freed_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")

    __table_args__ = (Index("removals_run_after", "run_after"),)
