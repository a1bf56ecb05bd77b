"""What the command prints: tables or JSON on standard output, all else on standard error."""

import codecs
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self, TextIO
from unicodedata import category, east_asian_width

from idrl_client.clipping import Job
from idrl_client.errors import IdrlError
from idrl_client.models import Brand, Bumper, DefaultBrand, Task, TaskWithParts, Usage

# Unicode's categories of controls, ends of lines, and surrogates.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
# So many characters of a line of progress are kept: a percentage is at its end.
_LAST = 10


def open_closed_streams() -> None:
    """Write to /dev/null where the caller has closed standard output or error (`2>&-`).

    Python has None for them then, and print(file=None) prints to standard output.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 # until the process ends


def allow_every_name() -> None:
    """Print names that standard output cannot encode: as their own bytes, or escaped."""
    codecs.register_error("idrl", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="idrl")


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    try:  # a path may hold bytes that are not valid UTF-8
        return text.encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return codecs.backslashreplace_errors(error)


def discard_rest() -> None:
    """Discard unwritten output: the interpreter would fail to flush it at exit."""
    _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def as_json(document: object) -> None:
    """Print the API's JSON; it escapes in its own way what standard output cannot encode."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    print(text)


def write_line(line: str) -> None:
    """Write a line to standard error, for a person."""
    _write_error(f"{line}\n")


def _write_error(text: str) -> None:
    """Write to standard error; if its reader is gone or its disk full, the work goes on."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


class Progress:
    """A line that the next one replaces on a terminal; in a log, each line that differs."""

    def __init__(self) -> None:
        self._last = ""
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __call__(self, line: str) -> None:
        if line == self._last:
            return
        self._last, line = line, printable(line)
        if self._is_terminal:
            shown = _fitted(line, shutil.get_terminal_size().columns)
            # Without wrapping: only the last row of a longer line would be replaced.
            _write_error(f"\r\033[K\033[?7l{shown}\033[?7h")
        else:
            write_line(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last line where it is."""
        if self._last and self._is_terminal:
            write_line("")


def printable(text: str) -> str:
    """Return the text with control characters escaped: a terminal would obey those of a name."""
    return "".join(
        letter.encode("unicode_escape").decode() if category(letter) in _CONTROLS else letter
        for letter in text
    )


def _fitted(line: str, columns: int) -> str:
    """Return the line so that it and the cursor fit, without what is before its last characters."""
    start, end = line[:-_LAST], line[-_LAST:]
    if _width(line) < columns:
        return line
    while start and _width(f"{start}…{end}") >= columns:
        start = start[:-1]
    return f"{start}…{end}"


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def tasks(rows: Iterable[Task]) -> None:
    """Print one line for each task."""
    for task in rows:
        total = task["parts_total"] or "?"
        print(
            f"{task['task_id']}  {task['status']:11} {task['progress']:3} %"
            f"  {task['parts_done']}/{total}  {printable(task['name'])}"
        )


def task(document: TaskWithParts) -> None:
    """Print a task and a line for each of its parts."""
    for name in ("task_id", "name", "url", "status", "progress", "eta_s", "created_at"):
        value = "unknown" if document[name] is None else printable(str(document[name]))
        print(f"{name:11} {value}")
    if error := document["error"]:
        print(f"{'error':11} {error['message']} ({error['code']})")
    for part in document["parts"]:
        time_range = f"{part['start_s']:.3f} to {part['end_s']:.3f} s"
        line = f"part {part['number']:<6} {part['status']:9} {time_range}  {part['name'] or ''}"
        print(printable(line.rstrip()))


def brands(rows: Iterable[Brand], default: DefaultBrand) -> None:
    """Print one line for each brand, with a mark at the default."""
    for brand in rows:
        mark = "*" if brand["brand_id"] == default["brand_id"] else " "
        print(f"{mark} {brand['brand_id']}  {printable(brand['name'])}")


def brand(document: Brand) -> None:
    """Print a brand."""
    for name in ("brand_id", "name", "background", "size_bytes", "created_at"):
        print(f"{name:11} {printable(str(document[name]))}")
    print(f"{'before':11} {_bumper(document['before'])}")
    print(f"{'after':11} {_bumper(document['after'])}")
    if mark := document["watermark"]:
        share, opacity = f"{mark['width_share']:.0%} of the width", f"opacity {mark['opacity']:g}"
        print(f"{'watermark':11} {mark['place']}, {share}, {opacity}")


def _bumper(bumper: Bumper | None) -> str:
    if bumper is None:
        return "none"
    return f"{bumper['kind']}, {bumper['width']}x{bumper['height']}, {bumper['duration_s']:g} s"


def _bytes_in_all(document: Usage) -> int:
    """Return the bytes that count towards the limit; older servers report fewer kinds."""
    sent_bytes = document["uploads_bytes"] + document.get("brands_bytes", 0)
    return document["clips_bytes"] + sent_bytes + document.get("sources_bytes", 0)


def usage(document: Usage) -> None:
    """Print what an account uses."""
    rows: Sequence[tuple[str, float, int | None]] = (
        ("live tasks", document["live_tasks"], document["live_tasks_limit"]),
        ("bytes of clips", document["clips_bytes"], None),
        ("bytes of uploads", document["uploads_bytes"], None),
        ("bytes of planned sources", document.get("sources_bytes", 0), None),
        ("bytes of brands", document.get("brands_bytes", 0), None),
        ("bytes in all", _bytes_in_all(document), document["clips_bytes_limit"]),
        ("seconds of video today", document["source_s_today"], document["source_s_today_limit"]),
        ("seconds rendered this month", document["rendered_s_this_month"], None),
    )
    for name, used, limit in rows:
        print(f"{name:28} {_number(used)}{f' of {limit:,}' if limit is not None else ''}")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


def jobs(rows: Sequence[Job]) -> None:
    """Print the paths of the clips, or the tasks where nothing was downloaded; say what failed."""
    for job in rows:
        if job.plan and not job.error:
            task(job.plan)
            continue
        paths = [str(each["path"]) for each in job.files]
        for line in paths or ([job.task_id] if job.task_id and not job.error else []):
            print(line)
        if job.error:
            write_line(f"idrl: {printable(str(job.error))}")


def error(fault: IdrlError, *, is_json: bool, about: str | None = None) -> None:
    """Write what went wrong, in one line."""
    message = f"{about}: {fault}" if about else str(fault)
    if is_json:
        write_line(json.dumps({"error": message, "exit_code": fault.exit_code}))
    else:
        write_line(f"idrl: {printable(message)}")
