"""What one account may have at once: live tasks, and bytes of clips."""

from dataclasses import dataclass

from flask_sqlalchemy.session import Session
from sqlalchemy import func, select, text
from sqlalchemy.orm import scoped_session

from worker_server.models import Part, Task
from worker_server.queue.statuses import LIVE_TASKS

# Any number that no other advisory lock of the database uses; the second key is the owner.
_LOCK = 0x1D42


class TooManyLiveTasks(Exception):
    """The account has as many live tasks as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"An account may have {limit} live tasks; wait until one has ended.")
        self.limit = limit


class TooManyBytes(Exception):
    """The clips of the account take as much space as they may."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The clips of an account may take {limit_bytes} bytes; delete tasks first."
        )


@dataclass(frozen=True)
class Quotas:
    """The limits of every account; 0 is no limit."""

    live_tasks: int = 0
    size_bytes: int = 0

    def lock(self, session: scoped_session[Session], owner_id: int) -> None:
        """Where there is a limit, accept tasks of the owner one at a time, so that it holds."""
        if self.live_tasks or self.size_bytes:
            lock = text("SELECT pg_advisory_xact_lock(:key, hashint8(:owner))")
            session.execute(lock, {"key": _LOCK, "owner": owner_id})

    def check(self, session: scoped_session[Session], owner_id: int) -> None:
        """Raise TooManyLiveTasks or TooManyBytes, counting tasks of this transaction."""
        if self.live_tasks:
            live = select(func.count()).where(
                Task.owner_id == owner_id, Task.status.in_(LIVE_TASKS)
            )
            if (session.scalar(live) or 0) > self.live_tasks:
                raise TooManyLiveTasks(self.live_tasks)
        if self.size_bytes:
            used = select(func.coalesce(func.sum(Part.size_bytes), 0)).where(
                Part.owner_id == owner_id
            )
            if (session.scalar(used) or 0) >= self.size_bytes:
                raise TooManyBytes(self.size_bytes)
