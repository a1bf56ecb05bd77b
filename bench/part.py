"""Where the processor time of one part goes: the encoder, and all that is not the encoder.

Each step is also run alone, by the command or the function that a worker runs. x264's own time is
what remains of a whole part when the other steps are taken away.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from imageio_ffmpeg import get_ffmpeg_exe

from bench import sources
from bench.implementations import edits
from bench.registry import Options
from bench.report import Report, Table
from bench.usage import measure
from worker_server import storage
from worker_server.media import (
    PROFILES,
    PartEdit,
    Quality,
    RenderWatch,
    render,
    renderer,
    renderers,
    verify_clip,
)

_PART_S, _QUICK_PART_S = 20, 4
_WHOLE = "whole part"
_STEPS = (
    *("decoding", "filters", "sound", "start of ffmpeg"),
    *("decoding as a check", "verification", "publishing"),
)
_REST = "x264 and MP4"  # of a copied part: bumpers and edges, and joining them to the copied
_NULL = ("-f", "null", "-")
Seconds = dict[str, float]
Work = dict[str, Callable[[], object]]


def run(options: Options) -> Report:
    rows, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        for name, (edit, is_copied) in _cases(options).items():
            seconds = _measured(edit, Path(folder), options.rounds, is_copied=is_copied)
            print(f"{name}: {seconds}", file=sys.stderr, flush=True)
            figures[name] = seconds
            rows.append(_row(name, seconds))
    columns = ("part", "CPU s, all", *_STEPS, _REST, "share that is not x264")
    title = f"Processor seconds of one part of {_PART_S} s, by step"
    return Report([Table(title, columns, rows)], [], {"cpu_s": figures})


def _cases(options: Options) -> dict[str, tuple[PartEdit, bool]]:
    """Real footage, made like a site's, so that it can be copied as well."""
    video, part_s = options.video or sources.make(_source(options)), _PART_S
    if options.quick:
        part_s = _QUICK_PART_S
    parts = edits(video, PROFILES[Quality.BALANCED], part_s)
    middle = parts[len(parts) // 2]
    encoded = {
        f"encoded, {level}": (replace(middle, profile=replace(profile, threads=1)), False)
        for level, profile in PROFILES.items()
    }
    copied = replace(middle, profile=replace(middle.profile, threads=1))
    return {"copied": (copied, True), **encoded}


def _source(options: Options) -> sources.Spec:
    small = sources.delivered(2, 1, seconds=3 * _QUICK_PART_S, size=(384, 216))
    return small if options.quick else sources.footage("bunny")


def _measured(edit: PartEdit, folder: Path, rounds: int, *, is_copied: bool) -> Seconds:
    """Return the median of each step: differences of medians where a step cannot run alone."""
    clip = folder / "clip.mp4"
    whole = partial(_render, edit, clip, is_copied=is_copied)
    runs: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, work in (
            {_WHOLE: whole} | _step_commands(edit, clip, is_copied=is_copied)
        ).items():
            runs.setdefault(name, []).append(measure(work).cpu_s)
    medians = {name: median(values) for name, values in runs.items()}
    if not is_copied:
        medians["decoding"] -= medians["start of ffmpeg"]
        medians["filters"] -= medians["decoding"] + medians["start of ffmpeg"]
    medians["sound"] -= medians["start of ffmpeg"]
    return medians | {_REST: medians[_WHOLE] - sum(medians.get(name, 0.0) for name in _STEPS)}


def _render(edit: PartEdit, clip: Path, *, is_copied: bool) -> None:
    """Make and verify the clip as a worker does."""
    engines = renderers("ffmpeg", get_ffmpeg_exe(), stream_copy=is_copied)
    rendered = render(edit, clip, engines, RenderWatch())
    if (rendered.rendered_by == "copy") != is_copied:
        raise ValueError(f"the part was made by {rendered.rendered_by}")


def _step_commands(edit: PartEdit, clip: Path, *, is_copied: bool) -> Work:
    command = renderer("ffmpeg", get_ffmpeg_exe()).command(edit, clip)
    at = command.index("-filter_complex")
    read, chains = command[:at], command[at + 1].split(";")
    # The sound's chain is the last one: the built-in brand has none of its own.
    sound = ["-filter_complex", chains[-1], "-map", "[a]", "-c:a", "aac", "-b:a", "128k"]
    work: Work = {
        "start of ffmpeg": partial(_run, [get_ffmpeg_exe(), "-version"]),
        "sound": partial(_run, [*read, *sound, *_NULL]),
        "verification": partial(verify_clip, clip, edit),
        "publishing": partial(_publish, clip),
    }
    if is_copied:
        check = ["-v", "error", "-threads", "2", "-skip_loop_filter", "all", "-i", str(clip)]
        return work | {
            "decoding as a check": partial(_run, [read[0], *check, "-map", "0:v", *_NULL])
        }
    stream, frames = f"0:{edit.source.video_index}", str(edit.part.frame_count)
    pictures = ["-filter_complex", ";".join(chains[:-1]), "-map", "[v]"]
    return work | {
        "decoding": partial(_run, [*read, "-map", stream, "-frames:v", frames, *_NULL]),
        "filters": partial(_run, [*read, *pictures, *_NULL]),
    }


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _publish(clip: Path) -> None:
    target = clip.with_name("published.mp4")
    storage.publish(clip, target)
    target.unlink()


def _row(name: str, seconds: Seconds) -> tuple[str | float, ...]:
    steps = (seconds.get(step, "") for step in (*_STEPS, _REST))
    return (name, seconds[_WHOLE], *steps, 1 - seconds[_REST] / seconds[_WHOLE])
