"""What operators see: workers, the sweeper, pauses, retention, usage and totals."""

from datetime import date, datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Double,
    Identity,
    Index,
    SmallInteger,
    Text,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from worker_server.models.base import Base


class Worker(Base):
    """A worker process and its last heartbeat.

    `fault_code` is the code of an internal fault since the worker's last success, or
    `storage_unavailable` while its machine cannot use the share.
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

    Rendering `timed_s` of the rendered seconds took `busy_s`: the speed is `timed_s / busy_s`.
    """

    __tablename__ = "usage_days"

    owner_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    planned_s: Mapped[float] = mapped_column(Double, server_default="0")
    rendered_s: Mapped[float] = mapped_column(Double, server_default="0")
    timed_s: Mapped[float] = mapped_column(Double, server_default="0")
    busy_s: Mapped[float] = mapped_column(Double, server_default="0")

    __table_args__ = (Index("usage_days_day", "day"),)


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
