"""Time to a short video's first part: on an idle system, and while an hour of video renders."""

import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from bench import paired, plots, running_system, sources
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.running_system import RunningSystem
from idrl_local import sample

_MOST = 1.5
_SECONDS, _QUICK_SECONDS = 3600, 200
# 16:10, so that every part has to be encoded; no grain, as an hour of it would be large.
_SCENE = sources.Spec(
    "pan", 1280, 800, 25, 30, encoder="-c:v libx264 -preset veryfast -crf 30 -pix_fmt yuv420p"
)
_IDLE, _ANOTHER, _SAME = (
    "idle system",
    "behind another owner's long video",
    "behind the owner's long video",
)


def run(options: Options) -> Report:
    clip = options.video or sources.make(_SCENE)
    long_video = _long_video(clip, _QUICK_SECONDS if options.quick else _SECONDS)
    chance = random.Random(1)  # noqa: S311 # when to post
    times: dict[str, list[float]] = {_IDLE: [], _ANOTHER: [], _SAME: []}
    with running_system.running(clip) as system, sample.served(long_video) as long_url:
        another = replace(system, client=running_system.account(system.installation))
        _first_part_s(system)  # warm
        times[_IDLE] = [_first_part_s(system) for _ in range(2 * options.rounds)]
        usual_s = sorted(times[_IDLE])[options.rounds]
        long_id = system.post(long_url)
        system.wait_until(
            "SELECT count(*) > 2 FROM parts WHERE task_id = %s AND status = 'done'", long_id
        )
        for _ in range(4 * options.rounds):
            for name, owner in ((_ANOTHER, another), (_SAME, system)):
                time.sleep(chance.uniform(0.5, 1.5) * usual_s)
                times[name].append(_first_part_s(owner))
        system.delete(long_id)
    ratios = {
        name: paired.ratio_of(times[name], [usual_s] * len(times[name]))
        for name in (_ANOTHER, _SAME)
    }
    _plot(
        options.plots,
        {name: [value / usual_s for value in values] for name, values in times.items()},
    )
    return Report(
        [_table(times, usual_s)],
        [
            Comparison(f"first part {name} / {_IDLE}", ratio, at_most=_MOST)
            for name, ratio in ratios.items()
        ],
        {"seconds": times},
    )


def _long_video(clip: Path, seconds: int) -> Path:
    """Return the clip, repeated until it is long enough."""
    path = clip.with_name(f"{clip.stem}-long-{seconds}s.mp4")
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        read = [
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-stream_loop",
            "-1",
            "-i",
            str(clip),
            "-t",
            str(seconds),
        ]
        subprocess.run(
            [get_ffmpeg_exe(), *read, "-c", "copy", "-movflags", "+faststart", str(unfinished)],
            check=True,
        )
        unfinished.rename(path)
    return path


def _first_part_s(owner: RunningSystem) -> float:
    """Post the clip and return the seconds until its first part is done; delete the task then."""
    posted = time.time()
    task_id = owner.post()
    query = "SELECT count(*) = 1 FROM parts WHERE task_id = %s AND number = 0 AND status = 'done'"
    owner.wait_until(query, task_id)
    ((finished,),) = owner.rows(
        "SELECT finished_at FROM parts WHERE task_id = %s AND number = 0", task_id
    )
    owner.delete(task_id)
    return float(finished - posted)


def _table(times: dict[str, list[float]], usual_s: float) -> Table:
    rows = []
    for name, values in times.items():
        ratios = sorted(value / usual_s for value in values)
        within = sum(ratio <= _MOST for ratio in ratios) / len(ratios)
        middle, late = ratios[len(ratios) // 2], ratios[int(0.9 * len(ratios))]
        rows.append((name, len(values), middle, late, ratios[-1], f"{within:.0%}"))
    columns = ("clip", "tries", "median", "90 %", "greatest", f"within {_MOST:g}")
    return Table(
        f"Time to the first part, in times of the idle system's {usual_s:.2f} s", columns, rows
    )


def _plot(folder: Path, ratios: dict[str, Sequence[float]]) -> None:
    curves = {}
    for name, values in ratios.items():
        ordered = sorted(values)
        curves[name] = [(ratio, (place + 1) / len(ordered)) for place, ratio in enumerate(ordered)]
    names = ("time to the first part / on an idle system", "share of the tries")
    plots.lines(folder, "waiting", "A video of 30 s behind a video of an hour", names, curves)
