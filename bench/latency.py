"""A task's latency on an idle system: from 202 to its clip's first byte, step by step.

The system's own share is from 202 to the encoder's start, and from the encoder's end to the
download. Each step of an encoded clip is listed with its lower bound: its least work, measured
alone. A copied clip follows, which is decoded once as a check.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from bench import paired, plots, sources
from bench.implementations import edits
from bench.inotify_watch import Watch
from bench.limits import Limit, limits
from bench.paired import Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.running_system import RunningSystem, running
from idrl_client import NotFound, Refused
from idrl_local import sample
from worker_server.media import PROFILES, PartEdit, Quality

# 720p with grain, all of it in one clip.
_SECONDS = 30
_VIDEO = sources.Spec(
    "grain",
    *(1280, 720, 25, _SECONDS),
    encoder="-c:v libx264 -preset veryfast -crf 26 -pix_fmt yuv420p",
)
_SETTINGS = {"PART_SECONDS": str(_SECONDS)}
_WARM_UPS = 4  # each child process of the fetch worker has run once
_POLL_S = 0.002
_START, _END = "202 → encoder running, without the download", "encoder's end → first byte"
_ALL = "202 → first byte"
_CHECK = "decoder opens the clip"  # a step of copied clips only
_START_GOAL_S, _END_GOAL_S = 0.150, 0.300
_MIB = 1024**2


def run(options: Options) -> Report:
    video = options.video or sources.make(sources.QUICK if options.quick else _VIDEO)
    turns = 2 * options.rounds + 1
    with running(video, **_SETTINGS, RENDER_COPY="off") as live:
        encoded = _samples(live, turns)
        with tempfile.TemporaryDirectory(dir=live.installation.home.root) as folder:
            limit_of = limits(live, _edit(video), Path(folder))
    with running(video, **_SETTINGS) as live:
        copied = _samples(live, turns)
    steps = {name: 1000 * paired.median({"": encoded}, "", name) for name in _own_steps(encoded[0])}
    title = "Where the time goes between a task and its first clip"
    plots.bars(options.plots, "latency", title, "ms", steps)
    comparisons = [
        Comparison(f"{name}, of {goal_s * 1000:g} ms", _share(encoded, name, goal_s), at_most=1)
        for name, goal_s in ((_START, _START_GOAL_S), (_END, _END_GOAL_S))
    ]
    return Report(
        [_table("encoded", encoded, limit_of), _table("copied", copied, {})],
        comparisons,
        {
            "runs": {"encoded": encoded, "copied": copied},
            "limits": {name: asdict(limit) for name, limit in limit_of.items()},
        },
    )


def _samples(live: RunningSystem, turns: int) -> list[Sample]:
    with sample.served(sources.make(sources.QUICK)) as short:
        for _ in range(_WARM_UPS):
            _time_of_task(live, short)
    return [_time_of_task(live, live.url) for _ in range(turns)]


def _table(how: str, samples: list[Sample], limit_of: dict[str, Limit]) -> Table:
    size = paired.median({"": samples}, "", "size_bytes") / _MIB
    title = f"One {how} part of {_SECONDS} s and {size:.1f} MiB, {len(samples)} times"
    columns = ("step", "median ms", "least", "greatest", "limit ms", "which is")
    rows = [_row(name, samples, limit_of) for name in samples[0] if name != "size_bytes"]
    return Table(title, columns, rows)


def _edit(video: Path) -> PartEdit:
    """Return the edit of the only part, for an encoder that has the machine for itself."""
    return edits(video, PROFILES[Quality.BALANCED], _SECONDS)[0]


def _row(name: str, samples: list[Sample], limit_of: dict[str, Limit]) -> tuple[str | float, ...]:
    limit = limit_of.get(name.rpartition(" → ")[2]) if name not in (_START, _END, _ALL) else None
    if name == _ALL and limit_of:
        limit = Limit("their sum", sum(each.seconds for each in limit_of.values()))
    shown = (1000 * limit.seconds, limit.work) if limit else ("", "")
    return (name, *_milliseconds(samples, name), *shown)


def _time_of_task(live: RunningSystem, url: str) -> Sample:
    """Process one task, and return the seconds of each step."""
    with Watch(live.share, live.scratch) as watch:
        task_id = live.post(url)
        accepted = time.time()
        while not watch.times("MOVED_TO", "/0.1.mp4"):
            time.sleep(_POLL_S)
        downloadable = _first_byte(live, task_id)
    query = """
        SELECT tasks.started_at, parts.created_at, parts.started_at, parts.size_bytes,
            parts.rendered_by
        FROM tasks JOIN parts ON parts.task_id = tasks.id WHERE tasks.id = %s AND number = 0
    """
    ((claimed, planned, part_claimed, size_bytes, rendered_by),) = live.rows(query, task_id)
    live.delete(task_id)
    files = _files(watch, task_id, part_claimed, is_copied=rendered_by == "copy")
    moments = {"accepted": accepted, "claimed": claimed, **files}
    moments |= {"planned": planned, "part claimed": part_claimed, "first byte": downloadable}
    return {**dict(_steps(moments)), "size_bytes": float(size_bytes)}


def _first_byte(live: RunningSystem, task_id: str) -> float:
    """Return when the first byte of the clip arrives."""
    link = f"/tasks/{task_id}/parts/0"
    while True:
        try:
            live.client.connection.call("GET", link, headers={"Range": "bytes=0-0"})
        except (NotFound, Refused):
            time.sleep(_POLL_S)
        else:
            return time.time()


def _files(watch: Watch, task_id: str, part_claimed: float, *, is_copied: bool) -> dict[str, float]:
    """Return when source and clip were created and opened."""
    source = f"{task_id}/source.1"
    downloaded = watch.times("CLOSE_WRITE", source)[0]
    # First the worker reads the first bytes, then its child the whole file.
    probing = watch.times("OPEN", source, after=downloaded)[1]
    encoded = watch.times("CLOSE_WRITE", "/clip.mp4")[-1]
    opened = watch.times("OPEN", "/clip.mp4", after=encoded)
    check = {_CHECK: opened.pop(0)} if is_copied else {}
    return check | {
        "folder made": watch.times("CREATE", task_id)[0],
        "downloaded": downloaded,
        "probe opens the source": probing,
        "encoder opens the source": watch.times("OPEN", source, after=part_claimed)[0],
        "encoder opens the clip": watch.times("CREATE", "/clip.mp4")[0],
        "encoded": encoded,
        "verifier opens the clip": opened[0],
        "copy begins": watch.times("CREATE", "/.0.1.mp4.tmp")[0],
        "published": watch.times("MOVED_TO", "/0.1.mp4")[0],
    }


_ORDER = (
    "accepted",
    "claimed",
    "folder made",
    "downloaded",
    "probe opens the source",
    "planned",
    "part claimed",
    "encoder opens the source",
    "encoder opens the clip",
    "encoded",
    _CHECK,
    "verifier opens the clip",
    "copy begins",
    "published",
    "first byte",
)


def _steps(moments: dict[str, float]) -> Iterator[tuple[str, float]]:
    download_s = moments["downloaded"] - moments["folder made"]
    yield _START, moments["encoder opens the source"] - moments["accepted"] - download_s
    yield _END, moments["first byte"] - moments["encoded"]
    yield _ALL, moments["first byte"] - moments["accepted"]
    for before, after in pairwise(name for name in _ORDER if name in moments):
        yield f"{before} → {after}", moments[after] - moments[before]


def _own_steps(steps: Sample) -> dict[str, float]:
    """Leave out sums, and steps that the system cannot shorten."""
    excluded = {_START, _END, _ALL, "size_bytes"}
    excluded |= {"folder made → downloaded", "encoder opens the clip → encoded"}
    return {name: value for name, value in steps.items() if name not in excluded}


def _milliseconds(samples: list[Sample], name: str) -> tuple[float, float, float]:
    values = sorted(1000 * sample[name] for sample in samples)
    return values[len(values) // 2], values[0], values[-1]


def _share(samples: list[Sample], name: str, goal_s: float) -> paired.Ratio:
    return paired.ratio_of([sample[name] for sample in samples], [goal_s] * len(samples))
