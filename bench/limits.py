"""The physical limit of each step of a task's latency: its least work, alone on this machine."""

import hashlib
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import av
from imageio_ffmpeg import get_ffmpeg_exe

from bench.database import connect
from bench.implementations import by_hand
from bench.running_system import RunningSystem
from worker_server.media import PartEdit

_TURNS = 5


@dataclass(frozen=True)
class Limit:
    """The least work of a step and the seconds that it takes."""

    work: str
    seconds: float


NO_WORK = Limit("nothing", 0.0)


def limits(live: RunningSystem, edit: PartEdit, folder: Path) -> dict[str, Limit]:
    """Return the limits by the moment that a step ends with; `folder` is on the system's disk."""
    clip, copy = folder / "clip.mp4", folder / "copy"
    encoding = _timed("the same command typed by hand", lambda: by_hand(edit, clip), turns=1)
    read_source = _timed("read every packet", lambda: _read_packets(edit.source_path))
    read_clip = _timed("read every packet, SHA-256", lambda: _verify(clip))
    return {
        "claimed": NO_WORK,
        "folder made": NO_WORK,
        "downloaded": _timed("the same download to a file", lambda: _download(live.url, copy)),
        "probe opens the source": NO_WORK,
        "planned": read_source,
        "part claimed": Limit("one commit", _commit_s(live)),
        "encoder opens the source": _timed("start of ffmpeg", _start_ffmpeg),
        "encoded": encoding,
        "verifier opens the clip": NO_WORK,
        "copy begins": read_clip,
        "published": _timed("copy, fsync, rename, fsync", lambda: _publish(clip, copy)),
        "first byte": _timed("a call through nginx", lambda: _call(live)),
    }


def _timed(work: str, function: Callable[[], object], turns: int = _TURNS) -> Limit:
    def once() -> float:
        begin = time.perf_counter()
        function()
        return time.perf_counter() - begin

    return Limit(work, median(once() for _ in range(turns)))


def _download(url: str, target: Path) -> None:
    with urllib.request.urlopen(url) as answer, target.open("wb") as file:  # noqa: S310 # loopback
        shutil.copyfileobj(answer, file, 1024**2)


def _read_packets(path: Path) -> None:
    with av.open(str(path)) as container:
        for _ in container.demux():
            pass


def _verify(clip: Path) -> None:
    _read_packets(clip)
    with clip.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def _commit_s(live: RunningSystem) -> float:
    """Return the seconds of a statement that writes, in a transaction of its own."""
    connection = connect(live.installation)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE public.bench_commits (number int)")
            insert = "INSERT INTO public.bench_commits VALUES (1)"
            return _timed("", lambda: cursor.execute(insert)).seconds
    finally:
        connection.close()


def _start_ffmpeg() -> None:
    subprocess.run([get_ffmpeg_exe(), "-version"], stdout=subprocess.DEVNULL, check=True)


def _publish(clip: Path, target: Path) -> None:
    with clip.open("rb") as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1024**2)
        os.fsync(file.fileno())
    target.rename(target.with_name("published"))
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _call(live: RunningSystem) -> None:
    live.client.connection.call("GET", "/tasks")
