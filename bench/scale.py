"""One video on one and on two workers of one core each, and a model of up to 256 of them."""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

import psutil
from imageio_ffmpeg import get_ffmpeg_exe

from bench import paired, plots, running_system, sources
from bench.fleet import Costs, efficiency, makespan_s, waits
from bench.implementations import edits, hand_command
from bench.paired import Ratio, Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.running_system import RunningSystem
from worker_server.media import Profile

_MIN_SPEED = 1.9
# 16:10, so that every part has to be encoded. The same 20 s repeat: all parts cost the same.
_SCENE = sources.Spec(
    "grain", 1280, 800, 25, 20, encoder="-c:v libx264 -preset veryfast -crf 30 -pix_fmt yuv420p"
)
_REPEATS, _QUICK_REPEATS = 30, 14
_MAX_ROUNDS = 2  # each takes minutes
_SETTINGS = {"RENDER_CONCURRENCY": "1", "RENDER_THREADS": "1", "RENDER_PRESET": "ultrafast"}
_WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PARTS_EACH = 8  # of the model's long queue
_LOADS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_MODEL_TASKS = 4000
_IDLE_S = 20.0
# Bytes read of the source for each of the part's own: index and key frames (`share` measures it).
_READ_PER_OWN = 1.2
_NETWORKS_BIT_S = {"file server of 2 Gbit/s": 2e9, "of 10 Gbit/s": 10e9, "of no limit": 0.0}


@dataclass(frozen=True)
class _Made:
    """One video, processed by a number of workers."""

    workers: int
    wall_s: float  # from the first claim to the last finished row
    part_s: Sequence[float]
    between_s: Sequence[float]  # from a part's end to the next claim, with a single worker
    database_s: float  # the database's execution time meanwhile
    share_bytes: float  # read and written, for one part


def run(options: Options) -> Report:
    video = options.video or _long_video(_QUICK_REPEATS if options.quick else _REPEATS)
    made: list[_Made] = []
    with running_system.running(video, **_SETTINGS) as system:
        running_system.pin(_first_worker(system), [0])
        for _ in range(min(options.rounds, _MAX_ROUNDS)):
            made.append(_process_video(system, video, 1))
            with running_system.render_worker(system, "second") as second:
                running_system.pin(second, [1])
                made.append(_process_video(system, video, 2))
        idle_share = _idle_share(system)
    alone, together = (
        [sample for sample in made if sample.workers == workers] for workers in (1, 2)
    )
    costs = _costs(alone, idle_share)
    speed = paired.ratio_of(
        [sample.wall_s for sample in alone], [sample.wall_s for sample in together]
    )
    ffmpeg_alone = _ffmpeg_speed(video, options.rounds)
    share_bytes = median(sample.share_bytes for sample in made)
    curves = _curves(costs, share_bytes)
    _plot(options.plots, costs, curves)
    return Report(
        [_measured(made, costs), _simulated(curves), _waiting(costs)],
        [
            Comparison("speed, two workers / one", speed, at_least=_MIN_SPEED),
            Comparison("the same of ffmpeg alone: what the machine's two cores give", ffmpeg_alone),
        ],
        {
            "made": [asdict(sample) for sample in made],
            "costs": asdict(costs),
            "share_bytes": share_bytes,
            "idle_share": idle_share,
        },
    )


def _ffmpeg_speed(video: Path, rounds: int) -> Ratio:
    """Return how much more two cores encode than one, by the bare ffmpeg command.

    Cores may be threads of one, and share their memory: then two of them never do twice the work of
    one.
    """
    edit = edits(video, Profile(_SETTINGS["RENDER_PRESET"], threads=1))[1]

    def encode(cores: int) -> Sample:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
            command = [get_ffmpeg_exe(), *hand_command(edit)]
            started = [
                subprocess.Popen(
                    ["taskset", "--cpu-list", str(core), *command, f"{folder}/{core}.mp4"]
                )
                for core in range(cores)
            ]
            if any(process.wait() for process in started):
                raise subprocess.SubprocessError("ffmpeg failed")
        return {"parts_per_s": cores / (time.monotonic() - begin)}

    runs = paired.take_turns({"two": lambda: encode(2), "one": lambda: encode(1)}, rounds)
    return paired.ratio(runs, "two", "one", "parts_per_s")


def _long_video(repeats: int) -> Path:
    scene = sources.make(_SCENE)
    path = scene.with_name(f"{scene.stem}-{repeats}-times.mp4")
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        read = ["-nostdin", "-v", "error", "-y", "-stream_loop", str(repeats - 1), "-i", str(scene)]
        subprocess.run(
            [get_ffmpeg_exe(), *read, "-c", "copy", "-movflags", "+faststart", str(unfinished)],
            check=True,
        )
        unfinished.rename(path)
    return path


def _first_worker(system: RunningSystem) -> psutil.Process:
    """Return the main process of the installation's own render worker."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        home = (process.info["environ"] or {}).get("IDRL_HOME")
        if "render@%h" in (process.info["cmdline"] or ()) and home == str(
            system.installation.home.root
        ):
            parent = process.parent()
            if parent and "render@%h" not in parent.cmdline():
                return process
    raise running_system.TookTooLong("there is no render worker")


def _process_video(system: RunningSystem, video: Path, workers: int) -> _Made:
    """Process the video, and delete the task."""
    database_before_s = _database_s(system)
    task_id = system.post()
    # Poll rarely: polling counts as database work. The times come from the rows.
    system.wait_until("SELECT status = 'done' FROM tasks WHERE id = %s", task_id, every_s=2)
    query = (
        "SELECT started_at, finished_at, size_bytes FROM parts"
        " WHERE task_id = %s ORDER BY started_at"
    )
    rows = system.rows(query, task_id)
    database_s = _database_s(system) - database_before_s
    system.delete(task_id)
    begins, ends, sizes = zip(*rows, strict=True)
    return _Made(
        workers,
        max(ends) - begins[0],
        [end - begin for begin, end in zip(begins, ends, strict=True)],
        [begin - end for end, begin in zip(ends, begins[1:], strict=False)] if workers == 1 else [],
        database_s,
        mean(sizes) + _READ_PER_OWN * video.stat().st_size / len(rows),
    )


def _idle_share(system: RunningSystem) -> float:
    """Return the share of the time in which the database works for an idle system.

    The sweeper and the senders of webhooks query it as often whatever there is to render.
    """
    before_s = _database_s(system)
    time.sleep(_IDLE_S)
    return (_database_s(system) - before_s) / _IDLE_S


def _database_s(system: RunningSystem) -> float:
    """Return the database's execution time, which idle connections report within a second."""
    return float(
        system.rows("SELECT active_time / 1000 FROM pg_stat_database WHERE datname = 'idrl'")[0][0]
    )


def _costs(alone: Sequence[_Made], idle_share: float) -> Costs:
    database_s = median(
        max(0.0, sample.database_s - idle_share * sample.wall_s) / len(sample.part_s)
        for sample in alone
    )
    between_s = median(seconds for sample in alone for seconds in sample.between_s)
    return Costs(
        [seconds for sample in alone for seconds in sample.part_s],
        max(0.0, between_s - database_s),
        database_s,
    )


Curves = Mapping[str, Sequence[tuple[float, float]]]


def _curves(costs: Costs, share_bytes: float) -> Curves:
    """Return the efficiency by number of workers, for each kind of network."""
    curves = {}
    for name, bit_s in _NETWORKS_BIT_S.items():
        shared = Costs(
            costs.part_s,
            costs.between_s,
            costs.database_s,
            8 * share_bytes / bit_s if bit_s else 0.0,
        )
        curves[name] = [
            (workers, efficiency(shared, workers, _PARTS_EACH * workers)) for workers in _WORKERS
        ]
    return curves


def _measured(made: Sequence[_Made], costs: Costs) -> Table:
    rows = []
    for sample in made:
        simulated_s = makespan_s(costs, sample.workers, len(sample.part_s))
        rows.append(
            (
                sample.workers,
                sample.wall_s,
                mean(sample.part_s),
                simulated_s,
                simulated_s / sample.wall_s,
            )
        )
    columns = ("workers", "wall s", "mean s of a part", "simulated wall s", "simulated / measured")
    between = f"{1000 * (costs.between_s + costs.database_s):.0f} ms between two parts"
    database = f"{1000 * costs.database_s:.1f} ms of the database for one"
    return Table(
        f"{len(made[0].part_s)} parts, one core for each worker ({between}, {database})",
        columns,
        rows,
    )


def _simulated(curves: Curves) -> Table:
    points = zip(*curves.values(), strict=True)
    rows = [(int(row[0][0]), *(share for _, share in row)) for row in points]
    return Table(
        f"Simulated efficiency with {_PARTS_EACH} parts for each worker", ("workers", *curves), rows
    )


def _waiting(costs: Costs) -> Table:
    rows = []
    for workers in _WORKERS:
        wait_times = [waits(costs, workers, load, _MODEL_TASKS) for load in (0.7, 0.9)]
        rows.append((workers, *(value for wait in wait_times for value in (wait.mean, wait.p95))))
    columns = ("workers", "mean at 70 % load", "95 % at 70 %", "mean at 90 %", "95 % at 90 %")
    return Table("Simulated wait of a task's first part, in times of a part", columns, rows)


def _plot(folder: Path, costs: Costs, curves: Curves) -> None:
    title = f"Efficiency with {_PARTS_EACH} parts for each worker (simulated)"
    plots.lines(
        folder, "scale-efficiency", title, ("workers", "share of time spent on parts"), curves, "x"
    )
    queueing = {
        f"{workers} workers": [
            (load, waits(costs, workers, load, _MODEL_TASKS).mean) for load in _LOADS
        ]
        for workers in (1, 2, 4, 16, 64)
    }
    title = "How long a task's first part waits (simulated)"
    plots.lines(
        folder, "scale-queueing", title, ("load", "mean wait, in times of a part"), queueing
    )
