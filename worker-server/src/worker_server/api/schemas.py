"""What callers send, and the documents they get."""

import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from idrl_common.paging import PageQuery
from idrl_common.settings import MAX_BODY_BYTES
from idrl_common.times import utc_text
from idrl_common.validation import NO_TIME, Body, CleanStr, Query
from worker_server.api.labels import ExternalId, Metadata, Name, default_name
from worker_server.api.queries import CountedTask, PartFacts, TaskFacts
from worker_server.edits import Edit
from worker_server.models.statuses import PartStatus, TaskStatus
from worker_server.queue.estimates import QueueEstimates
from worker_server.queue.events import Event
from worker_server.queue.uploads import source_url

# The download's share of the progress from 0 to 100.
_DOWNLOAD_SHARE = 0.1
# Of a URL that every proxy takes.
MAX_CHOSEN = 100


def _check_time(value: object) -> object:
    """Refuse what pydantic takes for a time besides RFC 3339, such as seconds since 1970."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        return value
    if isinstance(value, str) and _RFC_3339.fullmatch(value.replace(" ", "+")):
        message = "In a URL the + of a time's offset must be written as %2B."
        raise PydanticCustomError("time_invalid", message)
    raise PydanticCustomError("time_invalid", NO_TIME)


def _split_statuses(value: object) -> tuple[str, ...]:
    names = str(value).split(",")
    known = tuple(status for status in TaskStatus if status in names)
    if len(known) < len(set(names)):
        message = "Must be statuses of tasks, separated by commas."
        raise PydanticCustomError("status_unknown", message)
    return known


def _split_ids(value: object) -> tuple[uuid.UUID, ...]:
    try:
        ids = tuple({uuid.UUID(text): None for text in str(value).split(",")})
    except ValueError:
        ids = ()
    if not 1 <= len(ids) <= MAX_CHOSEN:
        message = f"Must be 1 to {MAX_CHOSEN} ids of tasks, separated by commas."
        raise PydanticCustomError("task_ids_invalid", message)
    return ids


def _in_utc(value: datetime) -> datetime:
    """Return the same time in UTC: PostgreSQL knows no offset of 16 hours and more."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("This time is before the year 1 or after the year 9999.") from error


_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
Time = Annotated[AwareDatetime, BeforeValidator(_check_time), AfterValidator(_in_utc)]
Statuses = Annotated[tuple[str, ...], BeforeValidator(_split_statuses)]
TaskIds = Annotated[tuple[uuid.UUID, ...], BeforeValidator(_split_ids)]


# Longer than `check_url` allows: that check has an error code of its own, as for `url`.
CallbackUrl = Annotated[CleanStr, Field(min_length=1, max_length=MAX_BODY_BYTES)]
_NOT_GIVEN: Any = object()
_UUID = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"


class NewTask(Body):
    """The body of POST /tasks."""

    # Declared before `url`, whose validator reads it.
    upload_id: str | None = Field(None, pattern=_UUID)
    # Longer than `check_url` allows: that check has an error code of its own.
    url: CleanStr = Field(_NOT_GIVEN, validate_default=True, max_length=MAX_BODY_BYTES)
    name: Name | None = None
    external_id: ExternalId | None = None
    metadata: Metadata | None = None
    start: Literal["auto", "manual"] = "auto"
    edit: Edit | None = None
    callback_url: CallbackUrl | None = None

    @field_validator("url", mode="before")
    @classmethod
    def _one_source(cls, url: object, info: ValidationInfo) -> object:
        has_upload = info.data.get("upload_id") is not None
        if url is _NOT_GIVEN and not has_upload:
            raise PydanticCustomError("missing", "Field required")
        if url is not _NOT_GIVEN and has_upload:
            raise PydanticCustomError("url_and_upload_id", "Give either url or upload_id.")
        if url == "":
            message = "String should have at least 1 character"
            raise PydanticCustomError("string_too_short", message)
        return "" if url is _NOT_GIVEN else url

    @property
    def source_url(self) -> str:
        """The URL stored with the task: the caller's, or `upload:ID` for an upload."""
        return self.url if self.upload_id is None else source_url(uuid.UUID(self.upload_id))


class NewBatch(Body):
    """The body of POST /batches; each item is then parsed as a NewTask."""

    items: list[Any] = Field(min_length=1, max_length=500)
    name: Name | None = None
    callback_url: CallbackUrl | None = None
    edit: Edit | None = None  # defaults for the fields that an item does not set


class BatchListQuery(PageQuery):
    """The query of GET /batches."""

    max: int = Field(20, ge=1, le=100)


class TaskChange(Body):
    """The body of PATCH /tasks/<id>; fields not sent stay as they are, in `edit` too."""

    edit: Edit = Edit()
    keep: bool = False
    name: Name | None = None
    external_id: ExternalId | None = None
    metadata: Metadata | None = None


class EventListQuery(PageQuery):
    """The query of GET /tasks/<id>/events; `cursor` takes precedence over `after`."""

    max: int = Field(200, ge=1, le=1000)
    after: int = Field(-1, ge=-1, le=2**63 - 1)


class TaskListQuery(Query):
    """The query of GET /tasks."""

    max: int = Field(20, ge=1, le=1000)
    order: Literal["0", "1"] = "1"
    cursor: CleanStr | None = None
    status: Statuses | None = None
    external_id: CleanStr | None = Field(None, min_length=1, max_length=128)
    batch_id: uuid.UUID | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    q: CleanStr | None = Field(None, min_length=1, max_length=200)


class ChosenTasks(Query):
    """The query of GET /tasks/clips.zip."""

    task_id: TaskIds


def task_document(
    task: CountedTask,
    parts: list[PartFacts] | None = None,
    *,
    blocked_by: str | None = None,
    estimates: QueueEstimates | None = None,
) -> dict[str, Any]:
    """Return the task as callers see it; with `parts` each of them as well.

    `blocked_by` is why workers claim no work now; `estimates` are those of queued tasks.
    """
    progress = _progress(task)
    waiting_for, waiting_until = _waiting(task, blocked_by)
    document: dict[str, Any] = {
        "task_id": task["id"],
        "url": task["url"],
        "name": task["name"] or default_name(task["url"]),
        "external_id": task["external_id"],
        "metadata": task["metadata"],
        "status": task["status"],
        "progress": int(progress),
        "eta_s": _eta_s(task, progress, None if waiting_for else estimates),
        "error": _error(task),
        "waiting_for": waiting_for,
        "waiting_until": waiting_until,
        "attempt": task["attempt"],
        "created_at": task["created_at"],
        "started_at": task["started_at"],
        "finished_at": task["finished_at"],
        "updated_at": task["updated_at"],
        "source": source_document(task["source"]) if task["source"] else None,
        "parts_total": task["parts_total"] or None,
        "parts_done": task["parts_done"],
        "canceled_in_ms": task["canceled_in_ms"],
        "freed_bytes": task["freed_bytes"],
        "start": "manual" if task["starts_manually"] else "auto",
        "callback_url": task["callback_url"],
        "keep": task["keep"],
        "expires_at": task["expires_at"],
        "expires_soon": task["expires_soon"],
        "link": f"/tasks/{task['id']}",
    }
    if "edit" in task:
        document["edit"] = task["edit"]
    if parts is not None:
        document["parts"] = [part_document(task["id"], part) for part in parts]
    return document


def part_document(task_id: str, part: PartFacts) -> dict[str, Any]:
    """Return the part as callers see it."""
    return {
        "number": part["number"],
        "segment": part["segment"],
        "name": part["name"],
        "status": part["status"],
        "progress": part["progress"],
        "start_s": part["start_s"],
        "end_s": part["end_s"],
        "attempt": part["attempt"],
        "size_bytes": part["size_bytes"],
        "sha256": part["sha256"],
        "frames": part["frames"],
        "rendered_by": part["rendered_by"],
        "concealed_frames": part["concealed_frames"],
        "link": part_link(task_id, part["number"]),
        "error": _error(part),
    }


def event_document(event: Event) -> dict[str, Any]:
    """Return the event as callers see it."""
    return {**vars(event), "at": utc_text(event.at)}


def part_link(task_id: str, number: int) -> str:
    """Return the path under which the clip can be downloaded."""
    return f"/tasks/{task_id}/parts/{number}"


def _progress(task: CountedTask) -> float:
    if task["status"] == TaskStatus.DONE:
        return 100
    if task["parts_total"]:
        # 100 only once the task is done, not while the last part is being published.
        return min(99.0, 100 * _DOWNLOAD_SHARE + task["parts_progress"] * (1 - _DOWNLOAD_SHARE))
    return task["progress"] * _DOWNLOAD_SHARE


def _eta_s(task: TaskFacts, progress: float, estimates: QueueEstimates | None) -> float | None:
    """Return the seconds left: by the queue, or at the average speed so far; None if unknown."""
    if task["status"] == TaskStatus.QUEUED and estimates:
        return estimates.seconds_left(task["id"])
    if (
        task["status"] != TaskStatus.PROCESSING
        or task["started_at"] is None
        or progress <= 100 * _DOWNLOAD_SHARE + 2
    ):
        return None
    since = task["start_requested_at"] or task["started_at"]
    gone = progress - 100 * _DOWNLOAD_SHARE if task["start_requested_at"] else progress
    elapsed_s = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    return round(max(0.0, elapsed_s * (100 - progress) / gone), 1)


def _waiting(task: CountedTask, blocked_by: str | None) -> tuple[str | None, str | None]:
    """Return what the task, or a part of it, waits for, and when the next attempt begins."""
    if task["status"] == TaskStatus.QUEUED and task["error_code"]:
        return task["error_code"], task["run_after"]
    if task["status"] == TaskStatus.PROCESSING:
        return task["parts_waiting_for"] or blocked_by, task["parts_waiting_until"]
    return blocked_by if task["status"] == TaskStatus.QUEUED else None, None


def source_document(facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return the source as callers see it: the row's exact fractions become plain numbers.

    The row is about the file that parts are cut from; `original` about the file as it came.
    """
    try:
        original = facts | facts.get("original", {})
        return {
            "size_bytes": original["size_bytes"],
            "duration_s": _number(facts["duration_s"]),
            "width": original["width"],
            "height": original["height"],
            "frame_rate": _number(facts["frame_rate"]),
            "video_codec": original["video_codec"],
            "audio_codec": original["audio_codec"] or None,
        }
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        ZeroDivisionError,
    ):  # stored by another release in another format
        return None


def _number(fraction: str) -> float:
    """Return what `str(Fraction(...))` wrote; `Fraction` itself takes eight times as long."""
    numerator, _, denominator = fraction.partition("/")
    return int(numerator) / int(denominator or 1)


def _error(work: TaskFacts | PartFacts) -> dict[str, str] | None:
    """Return the error of failed work; None while another attempt follows or has followed."""
    if work["status"] not in (TaskStatus.FAILED, PartStatus.FAILED) or work["error_code"] is None:
        return None
    return {"code": work["error_code"], "message": work["error_message"] or ""}
