"""What `GET /status` tells operators, read from the database and the share."""

import math
import threading
import time
from typing import Any

from sqlalchemy import RowMapping, text

from idrl_common.times import utc_text
from worker_server.db import transaction
from worker_server.models.base import one_of
from worker_server.models.statuses import LIVE_AFTER_QUEUE, TaskStatus
from worker_server.queue import backlog, pauses
from worker_server.queue.claims import Kind
from worker_server.queue.workers import ALIVE_S
from worker_server.share_monitor import ShareMonitor

_MAX_ACCOUNTS = 50
_MAX_WORKERS = 500
_WORKERS = text("""
    SELECT name, kinds, started_at, seen_at, fault_code,
        seen_at > now() - make_interval(secs => :alive_s) AS is_alive
    FROM workers ORDER BY name LIMIT :limit
""")
_FAILURES = text("""
    SELECT error_code AS code, count(*) AS tasks FROM tasks
    WHERE status = :failed_status AND finished_at > now() - interval '24 hours'
    GROUP BY error_code ORDER BY count(*) DESC, error_code
""")
# The sums of yesterday and today (UTC): just after midnight, today alone would be too few tasks.
_SPEED = text("""
    SELECT coalesce(sum(timed_s), 0) AS timed_s, coalesce(sum(busy_s), 0) AS busy_s,
        coalesce(sum(rendered_s), 0) AS rendered_s
    FROM usage_days WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1
""")
# In two conditions, of which each has a partial index.
_IS_LIVE = f"({one_of([TaskStatus.QUEUED])} OR {one_of(LIVE_AFTER_QUEUE)})"
_ACCOUNTS = text(f"""
    SELECT owner_id AS user_id, coalesce(live_tasks, 0) AS live_tasks,
        coalesce(clips_bytes, 0)::bigint AS clips_bytes,
        coalesce(rendered_s, 0) AS rendered_s_this_month
    FROM (
        SELECT owner_id, count(*) AS live_tasks FROM tasks
        WHERE {_IS_LIVE} GROUP BY owner_id
    ) AS live
    FULL JOIN (
        SELECT owner_id, sum(size_bytes) AS clips_bytes FROM parts
        WHERE size_bytes IS NOT NULL GROUP BY owner_id
    ) AS kept USING (owner_id)
    FULL JOIN (
        SELECT owner_id, sum(rendered_s) AS rendered_s FROM usage_days
        WHERE day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date GROUP BY owner_id
    ) AS spent USING (owner_id)
    ORDER BY clips_bytes DESC, rendered_s_this_month DESC, user_id LIMIT :limit
""")  # noqa: S608 # made of constants
# Summing up takes as long as there are parts, a second for millions, and the page of an operator
# asks every five seconds. What took longer than _SLOW_S is not read again for _REUSED_S.
_SLOW_S, _REUSED_S = 0.1, 60.0


class AccountUse:
    """What accounts use, as last read: a minute old at most, and current while reading is fast."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reread_at = -math.inf
        self._accounts: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Return the accounts that use most; a call during a slow read waits for its result."""
        with self._lock:
            began = time.monotonic()
            if began >= self._reread_at:
                self._accounts = _read_accounts()
                ended = time.monotonic()
                self._reread_at = ended + _REUSED_S if ended - began > _SLOW_S else ended
            return self._accounts


def _read_accounts() -> list[dict[str, Any]]:
    with transaction() as session:
        return [
            dict(row) for row in session.execute(_ACCOUNTS, {"limit": _MAX_ACCOUNTS}).mappings()
        ]


def document(share: ShareMonitor, use: AccountUse) -> dict[str, Any]:
    """Return the system's state."""
    with transaction() as session:
        workers = session.execute(_WORKERS, {"alive_s": ALIVE_S, "limit": _MAX_WORKERS}).mappings()
        failures = session.execute(_FAILURES, {"failed_status": TaskStatus.FAILED}).mappings()
        speed = session.execute(_SPEED).one()
        state = {
            "workers": [_worker(row) for row in workers],
            "speed": _ratio(speed.timed_s, speed.busy_s),
            "rendered_s": round(speed.rendered_s, 3),
            "failures": [dict(row) for row in failures],
        }
    kinds = [kind_document(kind) for kind in Kind]
    return {"work": kinds, "share": _share(share), **state, "accounts": use.read()}


def kind_document(kind: Kind) -> dict[str, Any]:
    """Return the state of one kind of work."""
    status = pauses.status_of(kind)
    return {
        "kind": kind,
        "paused": status.is_paused,
        "waiting": status.waiting,
        "running": status.running,
        "oldest_wait_s": round(backlog.oldest_due_s()[kind], 3),
    }


def _share(share: ShareMonitor) -> dict[str, Any]:
    state = share.check()
    return {"free_bytes": state.free_bytes, "error": state.error and state.error.code}


def _worker(row: RowMapping) -> dict[str, Any]:
    times = {name: utc_text(row[name]) for name in ("started_at", "seen_at")}
    return {**row, **times}


def _ratio(timed_s: float, busy_s: float) -> float | None:
    return round(timed_s / busy_s, 2) if busy_s > 0 else None
