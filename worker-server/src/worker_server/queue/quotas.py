"""Quotas: limits of one account; an operator may override the settings for an account."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import BigInteger, column, select, table
from sqlalchemy.dialects.postgresql import JSONB

from worker_server.errors import FailureCode, WorkFailed
from worker_server.queue import brands, usage
from worker_server.queue.sql_common import ScopedSession, lock_for_owner

# Key of an advisory lock, unique within the database.
_LOCK = 0x1D42
# The web app's table, of which the worker machine may read these two columns.
_USERS = table("users", column("id", BigInteger), column("quotas", JSONB))


@dataclass(frozen=True)
class LimitState:
    """How much of one limit is left; `window_s` and `reset_s` for a limit per period."""

    name: str
    quota: int
    remaining: int
    window_s: int | None = None
    reset_s: int | None = None


class QuotaExceeded(Exception):
    """A new task, batch or upload would exceed `limit`; whether waiting helps, `ends_by_itself`."""

    code = ""
    message = ""
    ends_by_itself = True

    def __init__(self, limit: LimitState) -> None:
        super().__init__(self.message.format(limit.quota))
        self.limit = limit


class TooManyLiveTasks(QuotaExceeded):
    """The account has the maximum number of live tasks."""

    code = "quota_live_tasks"
    message = "This account may have at most {} live tasks; wait until one has ended."


class BatchTooLarge(QuotaExceeded):
    """The batch has more tasks than the account may have live at all."""

    code = "quota_batch_too_large"
    message = "This account may have at most {} live tasks, and the batch has more; divide it."
    ends_by_itself = False


class TooManyBytes(QuotaExceeded):
    """The files of the account use up its quota of bytes."""

    ends_by_itself = False
    code = FailureCode.QUOTA_BYTES
    message = (
        "The files of this account may take at most {} bytes;"
        " delete tasks, uploads or brands first."
    )


class TooManySourceSeconds(QuotaExceeded):
    """The sources of the account's tasks of today use up its quota of seconds."""

    code = FailureCode.QUOTA_SOURCE_SECONDS
    message = "This account may process at most {} seconds of video a day (UTC); wait for tomorrow."


@dataclass(frozen=True)
class Quotas:
    """The limits of an account; 0 is no limit."""

    live_tasks: int = 0
    size_bytes: int = 0
    source_seconds_per_day: int = 0

    def overridden(self, overrides: Mapping[str, Any] | None) -> "Quotas":
        """Return these limits, replaced by those that `overrides` has by name."""
        names = {field.name for field in fields(self)}
        known = {name: int(value) for name, value in (overrides or {}).items() if name in names}
        return replace(self, **known)

    def of_account(self, session: ScopedSession, owner_id: int) -> "Quotas":
        """Return the limits of one account: its own, and these where it has none."""
        own = select(_USERS.c.quotas).where(_USERS.c.id == owner_id)
        return self.overridden(session.scalar(own))

    def __bool__(self) -> bool:
        return self != Quotas()

    def check(
        self,
        session: ScopedSession,
        owner_id: int,
        new_tasks: int = 1,
        sources: Collection[uuid.UUID] = (),
    ) -> list[LimitState]:
        """Return what is left of each limit, with the `new_tasks` of this transaction counted.

        The uploads `sources`, which those tasks read, do not count.

        Raise QuotaExceeded, whose limit says what is left without them. One transaction of an
        owner at a time, so that parallel ones do not exceed a limit: each of them has inserted
        its task before it waits here.
        """
        if not self:
            return []
        lock_owner(session, owner_id)
        return [
            *self._check_live_tasks(session, owner_id, new_tasks),
            *self.check_bytes(session, owner_id, sources),
            *self._check_source_seconds(session, owner_id),
        ]

    def check_retry(
        self, session: ScopedSession, owner_id: int, sources: Collection[uuid.UUID] = ()
    ) -> None:
        """Raise QuotaExceeded where a task that is queued again exceeds a limit.

        The uploads `sources`, which it reads, do not count.
        Its seconds are not checked: they were counted when it was first planned.
        """
        if self.live_tasks or self.size_bytes:
            lock_owner(session, owner_id)
            self._check_live_tasks(session, owner_id, new_tasks=1)
            self.check_bytes(session, owner_id, sources)

    def check_more_seconds(self, session: ScopedSession, owner_id: int, seconds: float) -> None:
        """Raise TooManySourceSeconds where another edit needs more than is left of the day."""
        if self.source_seconds_per_day and seconds > 0:
            left, state = self._seconds_left(session, owner_id)
            if seconds > left:
                raise TooManySourceSeconds(state)

    def check_bytes(
        self, session: ScopedSession, owner_id: int, sources: Collection[uuid.UUID] = ()
    ) -> list[LimitState]:
        """Return what is left of the bytes; raise TooManyBytes where nothing is.

        The uploads `sources` do not count.
        """
        if not self.size_bytes:
            return []
        left = max(0, self._left_bytes(session, owner_id, sources))
        state = LimitState("clip-bytes", self.size_bytes, left)
        if not left:
            raise TooManyBytes(state)
        return [state]

    def check_new_bytes(self, session: ScopedSession, owner_id: int, new_bytes: int) -> None:
        """Raise TooManyBytes where the files exceed the quota.

        They include the `new_bytes` of the upload or brand that this transaction has stored.
        """
        if not self.size_bytes:
            return
        lock_owner(session, owner_id)
        left = self._left_bytes(session, owner_id)
        if left < 0:
            raise TooManyBytes(LimitState("clip-bytes", self.size_bytes, max(0, left + new_bytes)))

    def _check_live_tasks(
        self, session: ScopedSession, owner_id: int, new_tasks: int
    ) -> list[LimitState]:
        if not self.live_tasks:
            return []
        left = self.live_tasks - usage.count_live_tasks(session, owner_id)
        if left < 0:
            refusal = BatchTooLarge if new_tasks > self.live_tasks else TooManyLiveTasks
            left_before = max(0, left + new_tasks)
            raise refusal(LimitState("live-tasks", self.live_tasks, left_before))
        return [LimitState("live-tasks", self.live_tasks, left)]

    def _left_bytes(
        self, session: ScopedSession, owner_id: int, sources: Collection[uuid.UUID] = ()
    ) -> int:
        """Return what is left of the quota; negative where more is kept. `sources` do not count."""
        uploads_bytes = usage.sum_upload_bytes(session, owner_id, sources)
        return self.size_bytes - _kept_bytes(session, owner_id) - uploads_bytes

    def _check_source_seconds(self, session: ScopedSession, owner_id: int) -> list[LimitState]:
        if not self.source_seconds_per_day:
            return []
        _, state = self._seconds_left(session, owner_id)
        if not state.remaining:
            raise TooManySourceSeconds(state)
        return [state]

    def _seconds_left(self, session: ScopedSession, owner_id: int) -> tuple[float, LimitState]:
        quota = self.source_seconds_per_day
        today = usage.today(session, owner_id)
        left = max(0.0, quota - today.planned_s)
        return left, LimitState("source-seconds", quota, int(left), usage.DAY_S, today.ends_in_s)


def lock_owner(session: ScopedSession, owner_id: int) -> None:
    """Serialize the owner's transactions from here on, until this one ends."""
    lock_for_owner(session, _LOCK, owner_id)


def check_planned_source(session: ScopedSession, owner_id: int, defaults: Quotas) -> None:
    """Raise WorkFailed where the account has no space for a source of a task that is now planned.

    It is kept until the caller starts the task, and its size was not known to POST /tasks.
    """
    limit = defaults.of_account(session, owner_id).size_bytes
    if not limit:
        return
    lock_owner(session, owner_id)
    if _kept_bytes(session, owner_id) > limit:
        message = f"With this source the files of the account take more than {limit} bytes."
        raise WorkFailed(FailureCode.QUOTA_BYTES, message)


def _kept_bytes(session: ScopedSession, owner_id: int) -> int:
    """Return what the account keeps besides uploads: clips, brands, sources of planned tasks."""
    sources_bytes = usage.sum_source_bytes(session, owner_id)
    return (
        usage.sum_clip_bytes(session, owner_id)
        + sources_bytes
        + brands.sum_bytes(session, owner_id)
    )


def spend_source_seconds(
    session: ScopedSession, owner_id: int, seconds: float, defaults: Quotas
) -> None:
    """Count the planned seconds of a task; raise WorkFailed where they exceed the day's quota.

    POST /tasks knows only what was planned before, so a source too long for the rest is refused
    here.
    """
    limit = defaults.of_account(session, owner_id).source_seconds_per_day
    if not usage.add_planned(session, owner_id, seconds, limit):
        message = f"The video is longer than what is left of {limit} seconds a day (UTC)."
        raise WorkFailed(FailureCode.QUOTA_SOURCE_SECONDS, message)
