"""Follows the logs of all processes, for people: one line an entry, from JSON or plain text."""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from idrl_local.home import Home, HomeUnusable

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_POSTGRES_LEVELS = {"LOG": "INFO", "FATAL": "ERROR", "PANIC": "CRITICAL", "NOTICE": "INFO"}
_POLL_S = 0.3
# Left out of the key=value list: they have a column, or are the same on every line.
_PLAIN_FIELDS = frozenset({"time", "level", "message", "logger", "service", "exc_info"})


@dataclass(frozen=True)
class Filter:
    """What is shown: one service, one task, and entries of at least this level."""

    service: str | None = None
    task_id: str | None = None
    level: str = "DEBUG"

    def takes(self, entry: "Entry") -> bool:
        return (
            self.service in (None, entry.service)
            and (not self.task_id or self.task_id in entry.raw)
            and LEVELS.index(entry.level) >= LEVELS.index(self.level)
        )


@dataclass(frozen=True)
class Entry:
    """One line of a log; `fields` is empty where the line is not JSON."""

    service: str
    raw: str
    level: str
    fields: dict[str, Any]

    @classmethod
    def parse(cls, service: str, raw: str) -> "Entry":
        try:
            fields = json.loads(raw)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return cls(service, raw, "INFO", {})
        level = str(fields.get("level") or fields.get("error_severity") or "INFO").upper()
        level = _POSTGRES_LEVELS.get(level, level)
        return cls(service, raw, level if level in LEVELS else "INFO", fields)

    def __str__(self) -> str:
        if not self.fields:
            return f"{'':8} {self.service:8} {'':7} {_printable(self.raw)}"
        clock = str(self.fields.get("time") or self.fields.get("timestamp") or "")[11:19]
        message = self.fields.get("message") or self._request()
        details = " ".join(
            f"{name}={value}"
            for name, value in self.fields.items()
            if name not in _PLAIN_FIELDS and value not in (None, "") and self._is_shown(name)
        )
        trace = f"\n{self.fields['exc_info']}" if self.fields.get("exc_info") else ""
        line = f"{clock:8} {self.service:8} {self.level:7} {message} {details}".rstrip()
        return _printable(line) + _printable(trace, kept="\t\n")

    def _request(self) -> str:
        return " ".join(str(self.fields.get(name, "")) for name in ("method", "path", "status"))

    def _is_shown(self, name: str) -> bool:
        return self.service != "postgres" or name in ("user", "dbname", "detail")


def _printable(text: str, kept: str = "\t") -> str:
    """Return the text with escapes for what is not printable, except the characters in `kept`.

    The path of a call, for one, may hold line ends and a terminal's control sequences.
    """
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode()
        for char in text
    )


def show(
    home: Home,
    chosen: Filter,
    *,
    as_json: bool,
    follow: bool,
    lines: int = 20,
    out: TextIO = sys.stdout,
) -> None:
    """Print the last lines of the logs that the filter takes; with `follow`, what is added."""
    followers = {path: _Follower(service, path) for service, path in _known_files(home, chosen)}
    for follower in followers.values():
        last = deque(filter(chosen.takes, follower.read()), lines)
        _print(last, as_json=as_json, out=out)
    while follow:
        time.sleep(_POLL_S)
        for service, path in _files(home):
            follower = followers.setdefault(path, _Follower(service, path))
            _print(filter(chosen.takes, follower.read()), as_json=as_json, out=out)


def _known_files(home: Home, chosen: Filter) -> list[tuple[str, Path]]:
    """Return `_files`; raise HomeUnusable where there are none, or none of the chosen service."""
    files = _files(home)
    if not files:
        raise HomeUnusable(f"there are no logs in {home.logs} yet: `make up` starts the system")
    services = {service for service, _ in files}
    if chosen.service and chosen.service not in services:
        known = ", ".join(sorted(services))
        raise HomeUnusable(f"SERVICE={chosen.service} is none of {known}")
    return files


def _files(home: Home) -> list[tuple[str, Path]]:
    """Return the service and the path of each log that is being written."""
    if home.logs.exists():
        next(home.logs.iterdir(), None)  # raises if the folder is unreadable; glob would not
    plain = [(path.stem, path) for path in sorted(home.logs.glob("*.log"))]
    return [*plain, *(("postgres", path) for path in sorted(home.logs.glob("postgres/*.json")))]


def _print(entries: Iterable[Entry], *, as_json: bool, out: TextIO) -> None:
    for entry in entries:
        print(entry.raw if as_json else entry, file=out, flush=True)


class _Follower:
    """Reads what was added to a file; begins again when the file was rotated or truncated."""

    def __init__(self, service: str, path: Path) -> None:
        self._service = service
        self._path = path
        self._inode = self._offset = 0

    def read(self) -> Iterator[Entry]:
        """Yield the whole lines that were added since the last call."""
        try:
            with self._path.open("rb") as file:
                yield from self._read(file.fileno(), file)
        except FileNotFoundError:  # a rotation has renamed it, and not yet created the next
            return

    def _read(self, descriptor: int, file: Any) -> Iterator[Entry]:  # noqa: ANN401 # open("rb")'s
        status = os.fstat(descriptor)
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._inode, self._offset = status.st_ino, 0
        file.seek(self._offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            self._offset += len(line)
            if text := line.decode(errors="replace").strip():
                yield Entry.parse(self._service, text)
