"""What the command prints: tables or JSON on standard output, all else on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence

from idrl_client.clipping import Job
from idrl_client.errors import IdrlError
from idrl_client.models import Brand, Bumper, DefaultBrand, Task, TaskWithParts, Usage


def as_json(document: object) -> None:
    """Print a document as the API gives it."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    """Tell a person something."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """A line that the next one replaces on a terminal; in a log, each line that differs."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> None:
        if line == self._last:
            return
        self._last = line
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            say(line)

    def end(self) -> None:
        """Leave the last line where it is."""
        if self._last and sys.stderr.isatty():
            print(file=sys.stderr)


def tasks(found: Iterable[Task]) -> None:
    """Print one line for each task."""
    for task in found:
        total = task["parts_total"] or "?"
        print(
            f"{task['task_id']}  {task['status']:11} {task['progress']:3} %"
            f"  {task['parts_done']}/{total}  {task['name']}"
        )


def task(found: TaskWithParts) -> None:
    """Print a task and a line for each of its parts."""
    for name in ("task_id", "name", "url", "status", "progress", "eta_s", "created_at"):
        print(f"{name:11} {'unknown' if found[name] is None else found[name]}")
    if error := found["error"]:
        print(f"{'error':11} {error['message']} ({error['code']})")
    for part in found["parts"]:
        stretch = f"{part['start_s']:.3f} to {part['end_s']:.3f} s"
        line = f"part {part['number']:<6} {part['status']:9} {stretch}  {part['name'] or ''}"
        print(line.rstrip())


def brands(found: Iterable[Brand], default: DefaultBrand) -> None:
    """Print one line for each brand, with a mark at the default."""
    for brand in found:
        mark = "*" if brand["brand_id"] == default["brand_id"] else " "
        print(f"{mark} {brand['brand_id']}  {brand['name']}")


def brand(found: Brand) -> None:
    """Print a brand."""
    for name in ("brand_id", "name", "background", "size_bytes", "created_at"):
        print(f"{name:11} {found[name]}")
    print(f"{'before':11} {_bumper(found['before'])}")
    print(f"{'after':11} {_bumper(found['after'])}")
    if mark := found["watermark"]:
        share, opacity = f"{mark['width_share']:.0%} of the width", f"opacity {mark['opacity']:g}"
        print(f"{'watermark':11} {mark['place']}, {share}, {opacity}")


def _bumper(found: Bumper | None) -> str:
    if found is None:
        return "none"
    return f"{found['kind']}, {found['width']}x{found['height']}, {found['duration_s']:g} s"


def usage(found: Usage) -> None:
    """Print what an account uses."""
    rows: Sequence[tuple[str, float, int | None]] = (
        ("live tasks", found["live_tasks"], found["live_tasks_limit"]),
        ("bytes of clips", found["clips_bytes"], None),
        ("bytes of uploads", found["uploads_bytes"], None),
        (
            "bytes in all",
            found["clips_bytes"] + found["uploads_bytes"],
            found["clips_bytes_limit"],
        ),
        ("seconds of video today", found["source_s_today"], found["source_s_today_limit"]),
        ("seconds rendered this month", found["rendered_s_this_month"], None),
    )
    for name, used, limit in rows:
        print(f"{name:28} {used:,.10g}{f' of {limit:,}' if limit is not None else ''}")


def jobs(found: Sequence[Job]) -> None:
    """Print the paths of the clips, or the tasks where nothing was downloaded; say what failed."""
    for job in found:
        if job.plan and not job.error:
            task(job.plan)
            continue
        paths = [str(each["path"]) for each in job.files]
        for line in paths or ([job.task_id] if job.task_id and not job.error else []):
            print(line)
        if job.error:
            say(f"idrl: {job.error}")


def error(fault: IdrlError, *, is_json: bool, about: str | None = None) -> None:
    """Say what went wrong, in one line."""
    sentence = f"{about}: {fault}" if about else str(fault)
    if is_json:
        say(json.dumps({"error": sentence, "exit_code": fault.exit_code}))
    else:
        say(f"idrl: {sentence}")
