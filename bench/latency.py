"""The system's share of a task's latency, beside the encoder's.

From 202 to the encoder's start, and from the encoder's end to the download.
"""

import time
from collections.abc import Iterator
from itertools import pairwise

from bench import paired, plots, sources
from bench.inotify_watch import Watch
from bench.paired import Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.running_system import Live, running
from idrl_client import NotFound, Refused

# 720p with grain: its part of 20 s has about 10 MB.
_VIDEO = sources.Spec(
    "grain", 1280, 720, 25, 20, encoder="-c:v libx264 -preset veryfast -crf 26 -pix_fmt yuv420p"
)
_SETTINGS = {"RENDER_PRESET": "superfast", "RENDER_CRF": "23"}
_WARM_UPS = 4  # each child process of the fetch worker has run once
_POLL_S = 0.002
_START, _END = "202 → encoder running, without the download", "encoder's end → first byte"
_START_GOAL_S, _END_GOAL_S = 0.150, 0.300
_MIB = 1024**2


def run(options: Options) -> Report:
    video = options.video or sources.make(sources.QUICK if options.quick else _VIDEO)
    with running(video, **_SETTINGS) as live:
        for _ in range(_WARM_UPS):
            _one(live)
        samples: list[Sample] = [_one(live) for _ in range(2 * options.rounds + 1)]
    runs = {"task": samples}
    rows = [(name, *_milliseconds(samples, name)) for name in samples[0] if name != "size_bytes"]
    size = paired.median(runs, "task", "size_bytes") / _MIB
    steps = {
        name: 1000 * paired.median(runs, "task", name)
        for name in samples[0]
        if name != "size_bytes"
    }
    plots.bars(
        options.plots,
        "latency",
        "Where the time goes between a task and its first clip",
        "ms",
        _ours(steps),
    )
    title = f"One task with one part of {size:.1f} MiB, {len(samples)} times"
    return Report(
        [Table(title, ("step", "median ms", "least", "greatest"), rows)],
        [
            Comparison(
                f"{_START}, of {_START_GOAL_S * 1000:g} ms",
                _share(samples, _START, _START_GOAL_S),
                at_most=1,
            ),
            Comparison(
                f"{_END}, of {_END_GOAL_S * 1000:g} ms",
                _share(samples, _END, _END_GOAL_S),
                at_most=1,
            ),
        ],
        {"runs": runs},
    )


def _one(live: Live) -> Sample:
    """Process one task, and return the seconds of each step."""
    with Watch(live.share, live.scratch) as watch:
        task_id = live.post()
        accepted = time.time()
        while not watch.times("MOVED_TO", "/0.1.mp4"):
            time.sleep(_POLL_S)
        downloadable = _first_byte(live, task_id)
    query = """
        SELECT tasks.started_at, parts.created_at, parts.started_at, parts.size_bytes
        FROM tasks JOIN parts ON parts.task_id = tasks.id WHERE tasks.id = %s AND number = 0
    """
    ((claimed, planned, part_claimed, size_bytes),) = live.rows(query, task_id)
    live.delete(task_id)
    moments = {"accepted": accepted, "claimed": claimed, **_files(watch, task_id, part_claimed)}
    moments |= {"planned": planned, "part claimed": part_claimed, "first byte": downloadable}
    return {**dict(_steps(moments)), "size_bytes": float(size_bytes)}


def _first_byte(live: Live, task_id: str) -> float:
    """Return when the first byte of the clip arrives."""
    link = f"/tasks/{task_id}/parts/0"
    while True:
        try:
            live.client.connection.call("GET", link, headers={"Range": "bytes=0-0"})
        except (NotFound, Refused):
            time.sleep(_POLL_S)
        else:
            return time.time()


def _files(watch: Watch, task_id: str, part_claimed: float) -> dict[str, float]:
    """Return when source and clip were created and opened."""
    source = f"{task_id}/source.1"
    downloaded = watch.times("CLOSE_WRITE", source)[0]
    # First the worker reads the first bytes, then its child the whole file.
    probing = watch.times("OPEN", source, after=downloaded)[1]
    encoded = watch.times("CLOSE_WRITE", "/clip.mp4")[-1]
    return {
        "folder made": watch.times("CREATE", task_id)[0],
        "downloaded": downloaded,
        "probe opens the source": probing,
        "encoder opens the source": watch.times("OPEN", source, after=part_claimed)[0],
        "encoder opens the clip": watch.times("CREATE", "/clip.mp4")[0],
        "encoded": encoded,
        "verifier opens the clip": watch.times("OPEN", "/clip.mp4", after=encoded)[0],
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
    "verifier opens the clip",
    "copy begins",
    "published",
    "first byte",
)


def _steps(moments: dict[str, float]) -> Iterator[tuple[str, float]]:
    download_s = moments["downloaded"] - moments["folder made"]
    yield _START, moments["encoder opens the source"] - moments["accepted"] - download_s
    yield _END, moments["first byte"] - moments["encoded"]
    for before, after in pairwise(_ORDER):
        yield f"{before} → {after}", moments[after] - moments[before]


def _ours(steps: dict[str, float]) -> dict[str, float]:
    """Leave out sums, and steps that the system cannot shorten."""
    theirs = (_START, _END, "folder made → downloaded", "encoder opens the clip → encoded")
    return {name: value for name, value in steps.items() if name not in theirs}


def _milliseconds(samples: list[Sample], name: str) -> tuple[float, float, float]:
    values = sorted(1000 * sample[name] for sample in samples)
    return values[len(values) // 2], values[0], values[-1]


def _share(samples: list[Sample], name: str, goal_s: float) -> paired.Ratio:
    return paired.ratio_of([sample[name] for sample in samples], [goal_s] * len(samples))
