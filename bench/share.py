"""What one part of a long source costs the share: bytes read and written, and calls.

The kernel's trace (strace) of a whole render counts, and not the code that reads.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
from imageio_ffmpeg import get_ffmpeg_exe

from bench import sources
from bench.implementations import edits
from bench.paired import Ratio
from bench.registry import Options
from bench.report import Comparison, Report, Table
from worker_server.media import PROFILES, PartEdit, Quality, RenderWatch, render, renderers

_REPEATS, _QUICK_REPEATS = 36, 4  # of 50 s: half an hour
_MAX_READ = 1.25  # of the part's own bytes
_MIB = 1024**2
_CALLS = "openat,read,pread64,lseek"
_UNFINISHED, _RESUMED = "<unfinished ...>", "resumed>"
# Thread, call, descriptor and result.
_CALL = re.compile(r"^\d+ +(\w+)\((\d+|AT_FDCWD)<.*= (\d+)(?:<.*>)?$")


@dataclass
class Reading:
    """The reads of one file in an strace log; open files by their descriptor."""

    calls: int = 0
    requested_bytes: int = 0
    opened: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    _offsets: dict[str, int] = field(default_factory=dict)

    def add(self, call: str, descriptor: str, result: int) -> None:
        self.calls += 1
        if call == "openat":
            self.opened += 1
            self._offsets[str(result)] = 0
        elif call == "lseek":
            self._offsets[descriptor] = result
        else:
            offset = self._offsets.get(descriptor, 0)
            self.ranges.append((offset, offset + result))
            self.requested_bytes += result
            self._offsets[descriptor] = offset + result

    @property
    def distinct_bytes(self) -> int:
        """Return the bytes that a client's page cache fetches: each of them once."""
        total = end = 0
        for start, stop in sorted(self.ranges):
            total += max(0, stop - max(start, end))
            end = max(end, stop)
        return total


def run(options: Options) -> Report:
    if shutil.which("strace") is None:
        raise FileNotFoundError("strace is not installed (Debian package strace)")
    video = options.video or half_hour_video(options)
    parts = edits(video, PROFILES[Quality.FAST])
    edit = parts[len(parts) // 2]
    own_bytes = _own_bytes(edit)
    read, clip_bytes = _traced(edit)
    sizes = (own_bytes, read.distinct_bytes, read.requested_bytes)
    share = read.distinct_bytes / own_bytes
    row = (*(size / _MIB for size in sizes), share, read.opened, read.calls, clip_bytes / _MIB)
    columns = (
        *("the part's own MiB", "read, each byte once", "read, by all calls", "once / own"),
        *("opened", "calls", "clip, MiB"),
    )
    return Report(
        [Table("One encoded part from the middle of a long source", columns, [row])],
        [
            Comparison(
                "read / the part's own bytes", Ratio(share, share, share, 1), at_most=_MAX_READ
            )
        ],
        {"read": sizes, "calls": read.calls, "opened": read.opened, "clip_bytes": clip_bytes},
    )


def half_hour_video(options: Options) -> Path:
    """Return half an hour of real footage, the same 50 s over and over."""
    small = sources.delivered(2, 1, seconds=12, size=(384, 216))
    scene = sources.make(small if options.quick else sources.footage("bunny"))
    repeats = _QUICK_REPEATS if options.quick else _REPEATS
    path = scene.with_name(f"{scene.stem}-{repeats}-times.mp4")
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        read = ["-nostdin", "-v", "error", "-y", "-stream_loop", str(repeats - 1), "-i", str(scene)]
        write = ["-c", "copy", "-movflags", "+faststart", str(unfinished)]
        subprocess.run([get_ffmpeg_exe(), *read, *write], check=True)
        unfinished.rename(path)
    return path


def _own_bytes(edit: PartEdit) -> int:
    """Return the bytes of all packets, pictures and sound, that are shown in the part."""
    begin, end = (
        float(edit.source.origin_s + frame / edit.frame_rate)
        for frame in (edit.part.start_frame, edit.part.end_frame)
    )
    with av.open(str(edit.source_path)) as container:
        return sum(
            packet.size
            for packet in container.demux()
            if packet.pts is not None and begin <= packet.pts * packet.time_base < end
        )


def _traced(edit: PartEdit) -> tuple[Reading, int]:
    """Render the part under strace; return how its source was read, and the clip's size."""
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        trace, clip = Path(folder) / "trace", Path(folder) / "clip.mp4"
        tracer = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={_CALLS}", "--seccomp-bpf"]
        job = json.dumps({"edit": edit.to_json(), "clip": str(clip)})
        subprocess.run([*tracer, sys.executable, "-m", "bench.share", job], check=True)
        return reading(trace, edit.source_path), clip.stat().st_size


def reading(trace: Path, source: Path) -> Reading:
    """Return how the source was read, by strace's own words."""
    read = Reading()
    for call, descriptor, result in _calls(trace, source):
        read.add(call, descriptor, result)
    return read


def _calls(trace: Path, source: Path) -> Iterator[tuple[str, str, int]]:
    """Yield each call on the source: its name, the descriptor and the result."""
    begun: dict[str, str] = {}  # by thread: strace splits calls that others interrupt
    with trace.open(errors="replace") as lines:
        for line in lines:
            thread, _, call = line.partition(" ")
            if _UNFINISHED in call:
                begun[thread] = line.partition(_UNFINISHED)[0]
                continue
            whole = begun.pop(thread, "") + call if _RESUMED in call else line
            if str(source) in whole and "O_PATH" not in whole and (match := _CALL.match(whole)):
                yield match[1], match[2], int(match[3])


def _render(job: str) -> None:
    wanted = json.loads(job)
    engines = renderers("ffmpeg", get_ffmpeg_exe(), stream_copy=False)
    render(PartEdit.from_json(wanted["edit"]), Path(wanted["clip"]), engines, RenderWatch())


if __name__ == "__main__":
    _render(sys.argv[1])
