"""The audit at the end: database, disk and process table against the callers' own history."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from chaos import clips
from chaos.callers import Caller
from chaos.history import History, Submission
from chaos.receiver import Receiver
from chaos.target import Target
from idrl_testing.waiting import wait_until

SLOW_ANSWER_S = 15.0
_ENDED = ("done", "failed", "canceled")
# Webhook events are sent a third time five minutes after the second failed attempt.
_TIDY_S = 420
# The sweeper leaves brand files younger than this alone: their rows may not be committed yet.
_BRAND_SETTLED_S = 660
_DONE_TWICE = """
    SELECT task_id, part, count(*) FROM task_events AS done WHERE kind = 'part_done'
        AND NOT EXISTS (SELECT FROM task_events AS other WHERE other.task_id = done.task_id
            AND other.kind IN ('clip_lost', 'retry_requested'))
    GROUP BY task_id, part HAVING count(*) > 1
"""
_DONE_PATHS = "SELECT path FROM parts WHERE status = 'done'"
_BRAND_FILES = "SELECT 'brands/' || owner_id || '/' || unnest(files) FROM brands"
_UPLOADS = "SELECT id::text, offset_bytes::int FROM uploads WHERE removed_at IS NULL"
# What is still to be done: files of tasks, and of uploads that no task needs, to be removed, and
# events to be sent.
_DUE = """
    SELECT (SELECT count(*) FROM removals)
        + (SELECT count(*) FROM webhook_deliveries WHERE status = 'waiting')
        + (SELECT count(*) FROM uploads WHERE removed_at IS NULL
        AND (deleted_at IS NOT NULL OR task_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM tasks WHERE id = uploads.task_id AND status NOT IN ('done', 'canceled'))))
"""
_CANCELED = "SELECT id FROM tasks WHERE status = 'canceled'"
_APART = ("brands", "uploads")
_INFRASTRUCTURE = (".idrl-share", "lost+found")
COLUMNS = (
    "lost",
    "doubled",
    "stuck",
    "false_failures",
    "orphan_processes",
    "orphan_files",
    "missing_files",
    "wrong_clips",
    "canceled_with_files",
    "answers_over_15_s",
    "errors_5xx_without_retry_after",
)
_PROBE = re.compile(r"\.probe\.")


@dataclass
class Findings:
    """What was found, by column; each finding is a sentence."""

    columns: dict[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in COLUMNS},
    )

    def add(self, column: str, message: str) -> None:
        self.columns[column].append(message)

    def counts(self) -> dict[str, int]:
        return {name: len(entries) for name, entries in self.columns.items()}

    def lines(self) -> list[str]:
        return [f"{name}: {each}" for name, entries in self.columns.items() for each in entries]


def audit(
    target: Target, history: History, callers: list[Caller], seen: set[psutil.Process]
) -> Findings:
    """Audit a system whose work has ended; `seen` are the processes that it ever had."""
    findings = Findings()
    for submission in history.submissions:
        caller = callers[submission.account]
        _audit_submission(findings, submission, caller, target.receiver)
    for message in target.receiver.forged:
        findings.add("doubled", message)
    for message in history.losses:
        findings.add("lost", message)
    for message in history.unrecovered:
        findings.add("stuck", message)
    _audit_rows(findings, target)
    _audit_files(findings, target)
    _audit_brands(findings, target)
    _audit_uploads(findings, target)
    _audit_processes(findings, target, seen)
    for call in history.slow_responses(SLOW_ANSWER_S):
        findings.add("answers_over_15_s", str(call))
    for call in history.server_errors_without_retry_after():
        findings.add("errors_5xx_without_retry_after", str(call))
    return findings


def _audit_submission(
    findings: Findings, submission: Submission, caller: Caller, receiver: Receiver
) -> None:
    if len(submission.task_ids) != 1:
        column = "doubled" if submission.task_ids else "lost"
        findings.add(column, f"{submission} was never accepted as one task")
        return
    task = caller.task(submission)
    if task is None:
        if not submission.delete_sent:
            findings.add("lost", f"{submission} is gone")
        return
    if task["status"] not in _ENDED:
        findings.add("stuck", f"{task}")
    elif not _is_expected(submission, task):
        findings.add("false_failures", f"{submission} ended as {task}")
    elif not receiver.has_received(task):
        findings.add("lost", f"no webhook event was sent: {submission} is {task['status']}")
    if task["status"] == "done":
        _audit_clips(findings, submission, task, caller)


def _is_expected(submission: Submission, task: dict[str, Any]) -> bool:
    if submission.delete_status == "deleted":
        return False  # it should be gone
    if task["status"] == "canceled":
        return submission.delete_sent
    if submission.delete_status in ("canceled", "canceling"):
        return False
    if submission.source.is_good:
        return bool(task["status"] == "done")
    return bool(task["status"] == "failed" and task["error"]["code"] == submission.source.code)


def _audit_clips(
    findings: Findings, submission: Submission, task: dict[str, Any], caller: Caller
) -> None:
    if len(task["parts"]) != submission.source.parts:
        findings.add("wrong_clips", f"{submission} has {len(task['parts'])} parts")
    for part in task["parts"]:
        clip = caller.download(part)
        name = f"part {part['number']} of {submission.task_id}"
        if clip is None:
            findings.add("missing_files", f"{name} cannot be downloaded")
        elif not clips.is_right(clip, part["sha256"], part["number"]):
            findings.add("wrong_clips", f"{name} has other bytes or frames than it should")


def _audit_rows(findings: Findings, target: Target) -> None:
    """Rows that contradict each other or name files that are not there."""
    for row in target.rows(_DONE_TWICE):
        findings.add("doubled", f"part_done more than once: {row}")
    for (path,) in target.rows(_DONE_PATHS):
        if not (target.home.share / str(path)).is_file():
            findings.add("missing_files", f"{path} is not on the share")
    for key, count in target.rows(
        "SELECT idempotency_key, count(*) FROM tasks WHERE idempotency_key IS NOT NULL"
        " GROUP BY owner_id, idempotency_key HAVING count(*) > 1"
    ):
        findings.add("doubled", f"{count} tasks of key {key}")


def _audit_files(findings: Findings, target: Target) -> None:
    clips = [Path(str(path)) for (path,) in target.rows(_DONE_PATHS)]
    kept = {str(path) for clip in clips for path in (clip, clip.with_suffix(".jpg"))}
    canceled = {str(row[0]) for row in target.rows(_CANCELED)}
    for entry in target.home.share.iterdir():
        if entry.name in canceled:
            findings.add("canceled_with_files", entry.name)
        if not entry.is_dir():
            if entry.name not in _INFRASTRUCTURE and not _PROBE.match(entry.name):
                findings.add("orphan_files", entry.name)
            continue
        if entry.name in _APART:
            continue
        leftovers = [f"{entry.name}/{file.name}" for file in entry.iterdir()]
        for name in set(leftovers) - kept:
            findings.add("orphan_files", name)
        if not leftovers:
            findings.add("orphan_files", f"{entry.name}/ is empty")
    scratch = target.home.root / "scratch"
    for entry in scratch.iterdir() if scratch.exists() else ():
        findings.add("orphan_files", f"scratch/{entry.name}")


def _audit_brands(findings: Findings, target: Target) -> None:
    """Files of brands that no row names, and the other way round."""
    share = target.home.share
    files = {str(file.relative_to(share)): file for file in share.glob("brands/*/*")}
    referenced = {str(path) for (path,) in target.rows(_BRAND_FILES)}
    for name in files.keys() - referenced:
        if time.time() - files[name].stat().st_mtime > _BRAND_SETTLED_S:
            findings.add("orphan_files", name)
    for name in referenced - files.keys():
        findings.add("missing_files", f"{name} is not on the share")


def _audit_uploads(findings: Findings, target: Target) -> None:
    """Files of uploads that no row has, and rows whose confirmed bytes are not there."""
    sizes = {file.name: file.stat().st_size for file in target.home.share.glob("uploads/*")}
    confirmed = {str(name): int(str(size)) for name, size in target.rows(_UPLOADS)}
    for name in sizes.keys() - confirmed.keys():
        findings.add("orphan_files", f"uploads/{name}")
    for name, size_bytes in confirmed.items():
        if sizes.get(name, 0) < size_bytes:
            findings.add("missing_files", f"uploads/{name} has not its {size_bytes} bytes")


def _audit_processes(findings: Findings, target: Target, seen: set[psutil.Process]) -> None:
    supervised = set(target.supervised())
    for process in seen:
        if process.is_running() and process not in supervised:
            findings.add("orphan_processes", f"{process} outlived its parent")
    for process in supervised:
        if _is_encoder(process):
            findings.add("orphan_processes", f"{process} encodes though no task is live")


def _is_encoder(process: psutil.Process) -> bool:
    try:
        return "ffmpeg" in process.name()
    except psutil.NoSuchProcess:
        return False


def wait_until_tidy(target: Target) -> None:
    """Wait until no removal or event is due and no encoder runs, for a bounded time: then audit."""

    def is_tidy() -> bool:
        return not target.rows(_DUE)[0][0] and not any(map(_is_encoder, target.supervised()))

    try:
        wait_until(is_tidy, _TIDY_S, poll_s=0.5)
    except AssertionError:
        return  # the audit finds what is left
