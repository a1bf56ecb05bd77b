"""The metadata of the worker machine's tables, and what their rows share."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, SmallInteger, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from worker_server.models.statuses import DeliveryStatus, PartStatus, TaskStatus


def one_of(values: Iterable[TaskStatus | PartStatus | DeliveryStatus]) -> str:
    """Return the SQL condition that a row's status is one of the values."""
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
