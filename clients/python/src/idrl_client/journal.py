"""What `idrl clip -o` has begun in a folder, so that the same command again continues it."""

import errno
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from idrl_client.errors import LocalFault

if sys.platform != "win32":
    import fcntl

_NAME = ".idrl.json"
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


@dataclass(frozen=True)
class Entry:
    """One requested task: its Idempotency-Key is on disk before the task is created with it."""

    source: str
    idempotency_key: str
    task_id: str | None = None
    upload_id: str | None = None

    @classmethod
    def new(cls, source: str) -> Self:
        """Return the entry of a video for which no task has been created yet."""
        return cls(source, str(uuid.uuid4()))


def fingerprint(base_url: str, source: str, edit: Mapping[str, object]) -> str:
    """Return the id of a request: it is the same for the same video, edit and system."""
    return hashlib.sha256(json.dumps([base_url, source, edit], sort_keys=True).encode()).hexdigest()


class Journal:
    """The requested tasks of one folder, in a file that is replaced atomically at each change."""

    def __init__(self, path: Path, entries: dict[str, Entry]) -> None:
        self._path = path
        self._entries = entries

    @classmethod
    @contextmanager
    def of(cls, folder: Path) -> Iterator[Self]:
        """Create the folder, lock it against other processes, and yield its journal."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".idrl.lock").open("w")
        except OSError as error:
            raise LocalFault(f"{folder} cannot be written to: {error.strerror}") from error
        with lock:
            _lock(lock, folder)
            yield cls(folder / _NAME, _read(folder / _NAME))

    def entry(self, order: str) -> Entry | None:
        """Return the entry of a request, None if it is new."""
        return self._entries.get(order)

    def put(self, order: str, entry: Entry) -> None:
        """Store the entry on disk."""
        self._entries[order] = entry
        document = {name: asdict(each) for name, each in self._entries.items()}
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            with fresh.open("w") as file:
                json.dump({"version": 1, "orders": document}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise LocalFault(f"{self._path} cannot be written: {error.strerror}") from error


def _lock(file: IO[str], folder: Path) -> None:
    """Lock the file against other processes; without flock, as on some shares, do nothing."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LocalFault(
            f"another `idrl clip` is working in {folder}: wait for it, or give another -o"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise LocalFault(f"{folder} cannot be locked: {error.strerror}") from error


def _read(path: Path) -> dict[str, Entry]:
    try:
        orders = json.loads(path.read_text())["orders"]
        return {name: Entry(**each) for name, each in orders.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalFault(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LocalFault(f"{path} is damaged: remove it, or give another -o") from error
