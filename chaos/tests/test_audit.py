"""The audit finds what it is there to find: each kind of damage is planted, and then removed."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos import audit
from chaos.callers import Stream
from chaos.history import History, Submission
from chaos.target import Target
from idrl_local import supervision

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UPLOAD = "INSERT INTO uploads (id, owner_id, length_bytes, offset_bytes, expires_at) VALUES"
BRAND = "INSERT INTO brands (id, owner_id, name, spec, files, size_bytes) VALUES"


def test_audit_of_an_intact_system_finds_nothing(system: Target) -> None:
    assert audited(system, History()) == []


def test_files_without_rows_are_orphans(system: Target) -> None:
    share = system.home.share
    upload, clip = share / f"uploads/{uuid.uuid4()}", share / f"{uuid.uuid4()}/0.1.mp4"
    brand, young = share / "brands/1/old.png", share / "brands/1/young.png"
    with without_sweeper(system), planted(upload, clip, brand, young):
        long_ago = time.time() - 3600
        os.utime(brand, (long_ago, long_ago))
        names = {path.relative_to(share) for path in (upload, clip, brand)}
        assert audited(system, History()) == [
            f"orphan_files: {name}" for name in sorted(names, key=str)
        ]


def test_rows_without_files_are_missing(system: Target) -> None:
    ids = {"upload": str(uuid.uuid4()), "brand": str(uuid.uuid4())}
    try:
        system.rows(f"{UPLOAD} (%s, 1, 10, 10, now() + interval '1 day')", ids["upload"])
        system.rows(f"{BRAND} (%s, 1, 'b', '{{}}', ARRAY['a.png'], 1)", ids["brand"])
        assert audited(system, History()) == [
            "missing_files: brands/1/a.png is not on the share",
            f"missing_files: uploads/{ids['upload']} has not its 10 bytes",
        ]
    finally:
        system.rows("DELETE FROM uploads WHERE id = %s", ids["upload"])
        system.rows("DELETE FROM brands WHERE id = %s", ids["brand"])


def test_late_answers_and_losses_of_callers_are_findings(system: Target) -> None:
    history, source = History(), system.sources.get("short.mp4")
    history.record_call("GET", "/late", time.monotonic() - 16, 200, {})
    history.record_call("GET", "/bare", time.monotonic(), 503, {})
    history.record_call("GET", "/fair", time.monotonic(), 503, {"Retry-After": "1"})
    history.record_loss("10 bytes became 5")
    history.record_unrecovered("redis_killed: NOT ready")
    for reported in (set(), {"a", "b"}, {str(uuid.uuid4())}):
        history.record_submission(Submission(0, source, "key", task_ids=reported))
    columns = [line.partition(":")[0] for line in audited(system, history)]
    assert columns == [
        "answers_over_15_s",
        "doubled",
        "errors_5xx_without_retry_after",
        "lost",
        "lost",
        "lost",
        "stuck",
    ]


def audited(system: Target, history: History) -> list[str]:
    """Return the sentences of an audit, in order."""
    callers = Stream(system.installation.url, system.sources, History(), seed=1).callers
    return sorted(audit.audit(system, history, callers, set()).lines())


@contextmanager
def without_sweeper(system: Target) -> Iterator[None]:
    """Let nothing be tidied up while the block runs."""
    supervision.stop_programs(system.home, ["sweep"])
    try:
        yield
    finally:
        supervision.start_programs(system.home, ["sweep"])


@contextmanager
def planted(*paths: Path) -> Iterator[None]:
    """Put files on the share; remove them, and folders that are empty then, in the end."""
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"planted")
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
