"""The ZIP of a task's clips against one clip as large: its start, its rate, its memory."""

import http.client
import time
import uuid
import zlib
from dataclasses import dataclass

import psutil
import requests

from bench import paired, stack
from bench.paired import Ratio, Runs, Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.stack import Stack
from bench.usage import tree_bytes
from idrl_testing.background import repeating

_CLIPS = 100
_CLIP_BYTES = 8 * 1024**2
_READ_BYTES = 1024**2
_SAMPLE_S = 0.1
_MAX_START_MS = 200
_MIN_OF_CLIP = 0.8
_MAX_GROWTH_MIB = 16
_USER = {
    "username": "a",
    "email": "a@example.com",
    "password": "Heron-over-42-Lakes",
    "password_2": "Heron-over-42-Lakes",
}
_SOURCE = (
    '{"size_bytes": 9000, "duration_s": "2000", "width": 1280, "height": 720,'
    ' "frame_rate": "30", "video_codec": "h264", "audio_codec": "aac"}'
)
_COLUMNS = ("download", "starts after ms", "MiB a second", "the tasks service grows by MiB")


def run(options: Options) -> Report:
    clips = 3 if options.quick else _CLIPS
    with stack.running() as system:
        archive, clip = _fill(system, clips, options.rounds)
        methods = {
            "one clip": lambda: _download(system, clip.next_path()),
            f"{clips} clips as a ZIP": lambda: _download(system, archive),
        }
        runs = paired.take_turns(methods, options.rounds)
    of = f"{clips} clips as a ZIP"
    return Report([_table(clips, runs)], _comparisons(runs, of), {"runs": runs})


@dataclass
class _Clip:
    """A clip as large as the ZIP; each path is new to nginx, whose cache would answer otherwise."""

    task_id: str
    number: int = -1

    def next_path(self) -> str:
        self.number += 1
        return f"/tasks/{self.task_id}/parts/{self.number}"


def _fill(system: Stack, clips: int, rounds: int) -> tuple[str, _Clip]:
    """Make a task of many clips, and one with a clip for each round that is as large as all."""
    url = f"http://127.0.0.1:{system.installation.ports.web}/auth/signup"
    requests.post(url, json=_USER, timeout=10).raise_for_status()  # the first account is OWNER
    share = system.installation.home.share
    content = bytes(range(256)) * (_CLIP_BYTES // 256)
    (share / "clip.mp4").write_bytes(content)
    with (share / "large.mp4").open("wb") as file:
        for _ in range(clips):
            file.write(content)
    many, large = (str(uuid.uuid4()) for _ in range(2))
    _insert(system, many, clips, "clip.mp4", _CLIP_BYTES, zlib.crc32(content))
    _insert(system, large, rounds, "large.mp4", _CLIP_BYTES * clips, 0)
    return f"/tasks/{many}/clips.zip", _Clip(large)


def _insert(
    system: Stack, task_id: str, parts: int, path: str, size_bytes: int, crc32: int
) -> None:
    system.execute(
        "INSERT INTO tasks (id, owner_id, url, status, source, started_at, finished_at)"
        " VALUES (%s, %s, 'http://example.com/v.mp4', 'done', %s, now(), now())",
        *(task_id, stack.OWNER, _SOURCE),
    )
    system.execute(
        "INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s,"
        " status, progress, path, size_bytes, sha256, crc32, frames, rendered_by)"
        " SELECT %s, n, %s, 600 * n, 600 * n + 600, 20 * n, 20 * n + 20, 'done', 100,"
        " %s, %s, md5(n::text) || md5(%s), %s, 660, 'encode' FROM generate_series(0, %s) n",
        *(task_id, stack.OWNER, path, size_bytes, task_id, crc32, parts - 1),
    )


def _download(system: Stack, path: str) -> Sample:
    """Download once through nginx, and watch the memory of the tasks service meanwhile."""
    service = system.processes["tasks"]
    before = tree_bytes(service)
    peak = _Peak(service)
    with repeating(peak.sample, _SAMPLE_S):
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", system.installation.ports.nginx)
        connection.request("GET", path, headers={"Authorization": f"Bearer {system.token}"})
        response = connection.getresponse()
        received = response.readinto(buffer := bytearray(_READ_BYTES))
        start_s = time.perf_counter() - begin
        while count := response.readinto(buffer):
            received += count
        wall_s = time.perf_counter() - begin
        connection.close()
    if response.status != 200 or received != int(response.headers["Content-Length"]):
        raise RuntimeError(f"{path}: {response.status} and {received} bytes")
    return {
        "start_ms": start_s * 1000,
        "bytes_per_s": received / wall_s,
        "growth_mib": max(0, peak.bytes - before) / 1024**2,
    }


class _Peak:
    """The most memory that a process and its descendants use, of all samples."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.bytes = 0

    def sample(self) -> None:
        self.bytes = max(self.bytes, tree_bytes(self._process))


def _table(clips: int, runs: Runs) -> Table:
    mib = _CLIP_BYTES * clips // 1024**2
    rows = [
        (
            name,
            paired.median(runs, name, "start_ms"),
            paired.median(runs, name, "bytes_per_s") / 1024**2,
            paired.median(runs, name, "growth_mib"),
        )
        for name in runs
    ]
    return Table(f"{mib} MiB through nginx", _COLUMNS, rows)


def _comparisons(runs: Runs, of: str) -> list[Comparison]:
    rate = paired.ratio(runs, of, "one clip", "bytes_per_s")
    start, growth = (_values(runs, of, name) for name in ("start_ms", "growth_mib"))
    return [
        Comparison("ms until a ZIP starts", start, at_most=_MAX_START_MS),
        Comparison("rate, ZIP / one clip", rate, at_least=_MIN_OF_CLIP),
        Comparison("MiB that a ZIP takes", growth, at_most=_MAX_GROWTH_MIB),
    ]


def _values(runs: Runs, name: str, measure: str) -> Ratio:
    values = [sample[measure] for sample in runs[name]]
    return paired.ratio_of(values, [1.0] * len(values))
