"""Records when files are created, opened and closed, to a fraction of a millisecond."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_POLL_MS = 100


@dataclass(frozen=True)
class Seen:
    """One inotify event; `at` is in seconds since the epoch, `what` is inotify's flag name."""

    at: float
    what: str
    path: Path


class Watch:
    """Records events in folders and their new subfolders while the block runs."""

    def __init__(self, *folders: Path) -> None:
        # Imported late: only `make bench` installs it.
        import inotify_simple

        self._flags: Any = inotify_simple.flags
        self._inotify: Any = inotify_simple.INotify()
        self._folders: dict[int, Path] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._seen: list[Seen] = []
        for folder in folders:
            self._add(folder)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._inotify.close()

    def times(self, what: str, suffix: str, after: float = 0) -> list[float]:
        """Return the times of an event for files whose paths have this suffix."""
        return [
            event.at
            for event in self._seen
            if event.what == what and str(event.path).endswith(suffix) and event.at >= after
        ]

    def _run(self) -> None:
        while not self._ended.is_set():
            for event in self._inotify.read(timeout=_POLL_MS):
                self._note(event, time.time())

    def _note(self, event: Any, at: float) -> None:  # noqa: ANN401 # untyped library
        folder = self._folders.get(event.wd)
        if folder is None:
            return
        names = {str(flag.name) for flag in self._flags.from_mask(event.mask)}
        path = folder / event.name
        if {"CREATE", "ISDIR"} <= names:
            self._add(path)
        self._seen += [Seen(at, name, path) for name in names]

    def _add(self, folder: Path) -> None:
        wanted = (
            self._flags.CREATE | self._flags.OPEN | self._flags.CLOSE_WRITE | self._flags.MOVED_TO
        )
        try:
            self._folders[self._inotify.add_watch(folder, wanted)] = folder
        except FileNotFoundError:
            return  # removed already
