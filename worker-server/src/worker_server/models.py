"""Rows that the worker machine owns: tasks and their parts."""

import uuid
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
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

from worker_server.queue.statuses import LIVE_TASKS, DeliveryStatus, PartStatus, TaskStatus

IDEMPOTENCY_INDEX = "tasks_idempotency_key"


def _one_of(values: Iterable[TaskStatus | PartStatus | DeliveryStatus]) -> str:
    return f"status IN ({', '.join(repr(str(value)) for value in values)})"


class Base(DeclarativeBase):
    """The metadata of the worker machine's tables; `psg` owns their schema."""

    registry = registry(
        type_annotation_map={str: Text, datetime: DateTime(timezone=True), dict[str, Any]: JSONB},
    )


class Work:
    """The columns that a task and a part share: progress, lease, failures, times.

    `attempt` is a fencing token: every claim raises it, and every write of a worker names the
    attempt of its lease. `failures` counts the attempts that failed by the source's or the caller's
    fault.
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
    """One accepted URL.

    `source` is the probed source as `media.Source.to_json` gives it; paths are below the share.

    `waiting_since`: since when the source has been away. `canceled_in_ms` and `freed_bytes` are the
    receipt of a cancel: from the request until nothing of the task was left. `keep` exempts the
    task from RETENTION_DAYS.
    """

    __tablename__ = "tasks"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    url: Mapped[str]
    name: Mapped[str | None]  # null: the URL's file name, as releases before 0.2.0 leave it
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
    starts_manually: Mapped[bool] = mapped_column(server_default="false")
    planned_at: Mapped[datetime | None]  # while it is planned
    start_requested_at: Mapped[datetime | None]
    planned_s: Mapped[float | None] = mapped_column(Double)  # counted towards the day's quota

    __table_args__ = (
        CheckConstraint(_one_of(TaskStatus), name="tasks_status_check"),
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
            postgresql_where=text(_one_of([TaskStatus.QUEUED])),
        ),
        Index(
            "tasks_live_by_status",
            "status",
            "id",
            postgresql_where=text(_one_of(LIVE_TASKS[1:])),
        ),
        Index(
            "tasks_finished",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND NOT keep"),
        ),
        Index(
            "tasks_planned",
            "planned_at",
            postgresql_where=text(_one_of([TaskStatus.PLANNED])),
        ),
        Index(
            "tasks_failed",
            "finished_at",
            postgresql_where=text(_one_of([TaskStatus.FAILED])),
        ),
        Index(
            IDEMPOTENCY_INDEX,
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
    segment: Mapped[int | None]  # of the edit; null where it has none
    name: Mapped[str | None]  # the segment's
    status: Mapped[str] = mapped_column(String(9), server_default=PartStatus.WAITING)
    path: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    crc32: Mapped[int | None] = mapped_column(BigInteger)  # null: published before 0.2.0
    frames: Mapped[int | None]
    rendered_by: Mapped[str | None]
    concealed_frames: Mapped[int | None]  # damaged in the source; null before the part is done

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


class TaskEvent(Base):
    """An event of a task or of one of its parts; `worker` is the process it happened in."""

    __tablename__ = "task_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task_id: Mapped[uuid.UUID] = mapped_column(Uuid, ForeignKey("tasks.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str]
    part: Mapped[int | None]
    attempt: Mapped[int | None]
    worker: Mapped[str | None]
    code: Mapped[str | None]

    __table_args__ = (
        Index("task_events_task", "task_id", "id"),
        Index("task_events_lease_lost", "at", postgresql_where=text("kind = 'lease_lost'")),
    )


class Upload(Base):
    """A file that a caller sends by tus, below `uploads/` on the share until a task needs it.

    `offset_bytes` are on the disk for certain; the file may be longer, by what no answer has
    confirmed. `metadata` is the header as it came. `deleted_at`: by the owner. `removed_at`: the
    file is gone.
    """

    __tablename__ = "uploads"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None]
    tus_metadata: Mapped[str | None] = mapped_column("metadata")
    length_bytes: Mapped[int] = mapped_column(BigInteger)
    offset_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    # No foreign key: a deleted task must not make its upload unused again.
    task_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uploads_owner_created", "owner_id", "created_at"),
        Index("uploads_with_file", "expires_at", postgresql_where=text("removed_at IS NULL")),
    )


class Brand(Base):
    """What stands before, after and over an account's clips; never changed once it is made.

    `files` are names below `brands/<owner>` on the share, which `spec` says the use of. A deleted
    brand's row and files stay while a task needs them.
    """

    __tablename__ = "brands"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    files: Mapped[list[str]] = mapped_column(ARRAY(Text))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index("brands_owner_created", "owner_id", "created_at"),
        Index("brands_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )


class BrandDefault(Base):
    """The brand of an account's tasks that name none; without a row it is the built-in one."""

    __tablename__ = "brand_defaults"

    owner_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    brand_id: Mapped[str]


class Webhook(Base):
    """Where an account is told of its tasks' events; `secret` signs what is sent.

    `busy_until` is the lease of the attempt that runs: a receiver has one at a time.
    """

    __tablename__ = "webhooks"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    busy_until: Mapped[datetime | None]

    __table_args__ = (Index("webhooks_owner", "owner_id", "created_at"),)


class WebhookDelivery(Base):
    """One event for one webhook: the outbox, which a trigger on `task_events` fills.

    `payload` is the text that the first attempt sends, and every later one: JSONB would change it.
    `run_after` is also the lease: a claim moves it.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[uuid.UUID] = mapped_column(
        Uuid, primary_key=True, server_default=text("gen_random_uuid()")
    )
    webhook_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, ForeignKey("webhooks.id", ondelete="CASCADE")
    )
    event: Mapped[str]
    task_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    part: Mapped[int | None]
    event_at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[str] = mapped_column(server_default=DeliveryStatus.WAITING)
    payload: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    attempted_at: Mapped[datetime | None]
    http_status: Mapped[int | None]
    error_code: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_one_of(DeliveryStatus), "delivery_status"),
        Index("webhook_deliveries_webhook", "webhook_id", "event_at"),
        Index(
            "webhook_deliveries_due",
            "run_after",
            postgresql_where=text(_one_of([DeliveryStatus.WAITING])),
        ),
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


class Worker(Base):
    """A worker process and its last sign of life.

    `fault_code` names a fault of ours that it met since its last success.
    """

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    fault_code: Mapped[str | None]
    fault_at: Mapped[datetime | None]
    scratch_free_bytes: Mapped[int | None] = mapped_column(BigInteger)


class Sweep(Base):
    """When a step of the sweeper last ended well, and its last error."""

    __tablename__ = "sweeps"

    step: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str]
    done_at: Mapped[datetime] = mapped_column(server_default=func.now())
    failed_at: Mapped[datetime | None]
    error: Mapped[str | None]


class QueuePause(Base):
    """A kind of work that workers do not claim for now."""

    __tablename__ = "queue_pauses"

    kind: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Retention(Base):
    """One row: RETENTION_DAYS as the sweeper last read it, and since when it has that value."""

    __tablename__ = "retention"

    id: Mapped[bool] = mapped_column(CheckConstraint("id"), primary_key=True)
    days: Mapped[int]
    since: Mapped[datetime] = mapped_column(server_default=func.now())


class UsageDay(Base):
    """Seconds of video of an account on one day (UTC), planned and rendered.

    `timed_s` of the rendered ones took `busy_s` of a render's time.
    """

    __tablename__ = "usage_days"

    owner_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    planned_s: Mapped[float] = mapped_column(Double, server_default="0")
    rendered_s: Mapped[float] = mapped_column(Double, server_default="0")
    timed_s: Mapped[float] = mapped_column(Double, server_default="0")
    busy_s: Mapped[float] = mapped_column(Double, server_default="0")


class MetricIncrement(Base):
    """An addition to a total that is not in it yet; `bucket` is 0 for a counter."""

    __tablename__ = "metric_increments"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    metric: Mapped[str]
    labels: Mapped[list[str]] = mapped_column(ARRAY(Text))
    bucket: Mapped[int] = mapped_column(SmallInteger)
    amount: Mapped[float] = mapped_column(Double)


class MetricTotal(Base):
    """The sum of all increments of a counter, or of one bucket of a histogram, so far."""

    __tablename__ = "metric_totals"

    metric: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[list[str]] = mapped_column(ARRAY(Text), primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[float] = mapped_column(Double)
