"""From links to clips in a folder: submits, follows and downloads, and continues after a kill."""

import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from idrl_client.client import ENDED, Client
from idrl_client.connection import is_web_address
from idrl_client.downloads import fetch_part
from idrl_client.errors import IdrlError, LocalFault, NotFound, Refused, TaskFailed
from idrl_client.journal import Entry, Journal, fingerprint
from idrl_client.models import NewEdit, NewTask, Part, Task, TaskWithParts
from idrl_client.uploads import find_offset, upload

_POLL_S = 1.0
# Where nothing changes, as for a task in a long queue, polls become rarer.
_MAX_POLL_S = 5.0
_RARER = 1.5
# A task that was started since it was planned has a plan too.
_HAS_PLAN = ENDED | {"planned", "processing"}
WriteLine = Callable[[str], None]


@dataclass
class Job:
    """The processing of one video; `error` says why there are no clips, or not all.

    `tag` is the entity tag of the task that was seen last.
    """

    source: str
    task_id: str | None = None
    status: str | None = None
    folder: str | None = None
    plan: TaskWithParts | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    error: IdrlError | None = None
    tag: str = ""

    def document(self) -> dict[str, Any]:
        """Return what --json prints of it."""
        fields = asdict(replace(self, error=None))
        del fields["tag"]
        return {**fields, "error": str(self.error or "") or None}


def submit(
    client: Client,
    sources: Sequence[str],
    edit: NewEdit,
    write_line: WriteLine,
    *,
    is_plan: bool = False,
) -> list[Job]:
    """Submit each video; do not wait, and store nothing."""
    return [_submitted(client, source, edit, write_line, is_plan=is_plan) for source in sources]


def _submitted(
    client: Client, source: str, edit: NewEdit, write_line: WriteLine, *, is_plan: bool
) -> Job:
    job = Job(source)
    try:
        upload_id = None
        if not is_web_address(source):
            path = Path(source)
            upload_id = upload(
                client.connection, path, None, on_progress=_upload_progress(path, write_line)
            )
        new_task = _new_task(source, upload_id, edit, is_plan=is_plan)
        task = client.create_task(new_task, str(uuid.uuid4()))
        job.task_id, job.status = task["task_id"], task["status"]
    except IdrlError as error:
        job.error = error
    return job


def into_folder(
    client: Client,
    sources: Sequence[str],
    edit: NewEdit,
    folder: Path,
    write_line: WriteLine,
    *,
    is_plan: bool = False,
) -> list[Job]:
    """Make the clips of all videos and save them in `folder`; a repeated call continues.

    With `is_plan` only plan the tasks; a later call without it makes the clips.
    """
    with Journal.of(folder) as journal:
        jobs = [
            _start_job(client, journal, source, edit, write_line, is_plan=is_plan)
            for source in sources
        ]
        follow(client, jobs, folder, write_line, is_plan=is_plan)
    return jobs


def _start_job(
    client: Client,
    journal: Journal,
    source: str,
    edit: NewEdit,
    write_line: WriteLine,
    *,
    is_plan: bool,
) -> Job:
    """Return the job of a video: with the task that an earlier call created, else a new one."""
    job = Job(source)
    try:
        order = fingerprint(client.connection.base_url, _version(source), dict(edit))
        entry = journal.entry(order)
        task = _known_task(client, entry)
        if entry and _may_have_task(client, entry):
            task = _repeated_task(client, entry, edit, is_plan=is_plan)
            entry = replace(entry, task_id=task["task_id"]) if task else None
        if task is None:
            if entry is None or entry.task_id:
                entry = Entry.new(source)
                journal.put(order, entry)
            if not is_web_address(source):
                entry = _uploaded(client, journal, order, entry, write_line)
            new_task = _new_task(source, entry.upload_id, edit, is_plan=is_plan)
            task = client.create_task(new_task, entry.idempotency_key)
            entry = replace(entry, task_id=task["task_id"])
        if entry and entry != journal.entry(order):
            journal.put(order, entry)
        job.task_id, job.status = task["task_id"], task["status"]
    except IdrlError as error:
        job.error = error
    return job


def _may_have_task(client: Client, entry: Entry) -> bool:
    """Return whether a task may have been created whose id did not arrive here."""
    if entry.task_id:
        return False
    if is_web_address(entry.source):
        return True
    return entry.upload_id is not None and find_offset(client.connection, entry.upload_id) is None


def _repeated_task(client: Client, entry: Entry, edit: NewEdit, *, is_plan: bool) -> Task | None:
    """Return the task that an earlier process created, planned or not, if its answer was lost."""
    for is_planned in (is_plan, not is_plan):
        new_task = _new_task(entry.source, entry.upload_id, edit, is_plan=is_planned)
        try:
            return client.create_task(new_task, entry.idempotency_key)
        except NotFound:
            return None
        except Refused as error:
            if not error.code.startswith(("upload_", "idempotency_key_")):
                raise
    return None


def _uploaded(
    client: Client, journal: Journal, order: str, entry: Entry, write_line: WriteLine
) -> Entry:
    """Upload the file unless that was done before; return the entry with the upload's id."""

    def save_upload_id(upload_id: str) -> None:
        journal.put(order, replace(entry, upload_id=upload_id))

    path = Path(entry.source)
    on_progress = _upload_progress(path, write_line)
    upload_id = upload(client.connection, path, entry.upload_id, save_upload_id, on_progress)
    return replace(entry, upload_id=upload_id)


def _upload_progress(path: Path, write_line: WriteLine) -> Callable[[int], None]:
    return lambda percent: write_line(f"uploading {path.name}: {percent} %")


def _version(source: str) -> str:
    """Return what identifies the video: its URL, or the file's path, size and modification time."""
    if is_web_address(source):
        return source
    try:
        facts = Path(source).stat()
    except OSError as error:
        raise LocalFault(f"{source} cannot be read: {error.strerror}") from error
    return f"{source} {facts.st_size} {facts.st_mtime_ns}"


def _known_task(client: Client, entry: Entry | None) -> Task | TaskWithParts | None:
    """Return the task of an entry, a failed one retried; None if it is gone or was canceled."""
    if entry is None or entry.task_id is None:
        return None
    try:
        task = client.task(entry.task_id)
    except NotFound:
        return None
    if task["status"] == "failed":
        return client.retry_task(entry.task_id)
    return None if task["status"] in {"canceling", "canceled"} else task


def follow(
    client: Client,
    jobs: Sequence[Job],
    folder: Path | None,
    write_line: WriteLine,
    *,
    is_plan: bool = False,
) -> None:
    """Wait until every task has ended; with a folder, download each clip once it is ready.

    With `is_plan` wait until every task is planned; without it start those that are.
    """
    pending = [job for job in jobs if job.error is None]
    last = _HAS_PLAN if is_plan else ENDED
    pause_s = _POLL_S
    while pending:
        tags = [job.tag for job in jobs]
        for job in pending:
            try:
                _advance(client, job, folder, is_plan=is_plan)
            except IdrlError as error:
                job.error = error
        write_line(_progress(jobs))
        pending = [job for job in pending if job.status not in last and job.error is None]
        is_changed = "" in tags or tags != [job.tag for job in jobs]
        pause_s = _POLL_S if is_changed else min(_MAX_POLL_S, pause_s * _RARER)
        if pending:
            time.sleep(pause_s)


def _advance(client: Client, job: Job, folder: Path | None, *, is_plan: bool) -> None:
    task, job.tag = client.changed_task(str(job.task_id), job.tag)
    if task is None:
        return  # as it was: all that it has is here
    if is_plan:
        job.plan = task
    elif task["status"] == "planned":
        task = client.start_task(task["task_id"])
    if folder and not is_plan:
        place = Path(job.folder) if job.folder else _task_folder(folder, task)
        job.folder = str(place)
        _download(client, job, task["parts"], place)
    job.status = task["status"]
    if job.status in {"failed", "canceled"}:
        reason = task["error"] or {"message": "It was stopped.", "code": "canceled"}
        raise TaskFailed(f"{job.source}: {reason['message']} ({reason['code']})")


def _task_folder(folder: Path, task: TaskWithParts) -> Path:
    """Return the folder of the task's clips: one made before, else one with the task's name."""
    made_before = sorted(folder.glob(f"*-{task['task_id'][:8]}"))  # the task may be renamed since
    place = made_before[0] if made_before else folder / _folder_name(task)
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise LocalFault(f"{place} cannot be made: {error.strerror}") from error
    return place


def _download(client: Client, job: Job, parts: Sequence[Part], place: Path) -> None:
    known = {(each["number"], each["sha256"]) for each in job.files}
    for part in parts:
        if part["status"] == "done" and (part["number"], part["sha256"]) not in known:
            path = place / f"part-{part['number']:03}.mp4"
            fetch_part(client.connection, part, path)
            job.files = [each for each in job.files if each["number"] != part["number"]]
            facts = {name: part[name] for name in ("number", "start_s", "end_s", "sha256")}
            job.files.append({"path": str(path), **facts})
    job.files.sort(key=lambda each: int(each["number"]))


def _folder_name(task: TaskWithParts) -> str:
    stem = re.sub(r"[^\w.-]+", "-", Path(task["name"]).stem)[:60].strip(".-")
    return f"{stem or 'video'}-{task['task_id'][:8]}"


def _new_task(source: str, upload_id: str | None, edit: NewEdit, *, is_plan: bool) -> NewTask:
    source_field = {"url": source} if is_web_address(source) else {"upload_id": upload_id}
    chosen = {"edit": edit} if edit else {}
    start = {"start": "manual"} if is_plan else {}
    return cast("NewTask", {**source_field, **chosen, **start})


def _progress(jobs: Sequence[Job]) -> str:
    ended = sum(job.status in ENDED or job.error is not None for job in jobs)
    files = sum(len(job.files) for job in jobs)
    live = ", ".join(sorted({job.status for job in jobs if job.status and not job.error}))
    return f"{ended} of {len(jobs)} videos, {files} clips here ({live or 'none left'})"
