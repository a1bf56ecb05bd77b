"""How close a clip looks to its source: VMAF, by the libvmaf in the ffmpeg that comes with imageio-ffmpeg."""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server.media import PartEdit
from worker_server.media.model.geometry import crop_box


@dataclass(frozen=True)
class Vmaf:
    """Over the frames of the part, without the logo; 100 is "no difference to be seen"."""

    mean: float
    harmonic_mean: float  # a few bad frames weigh more
    worst: float  # frame

    def sample(self) -> dict[str, float]:
        return {f"vmaf_{name}": value for name, value in asdict(self).items()}


def vmaf(clip: Path, edit: PartEdit, every: int = 1, *, is_exact: bool = True) -> Vmaf:
    """Compare the clip's part with the same frames of the source, cropped and scaled; look at `every` n-th frame.

    A clip that is not exact may lie a frame beside the source (MoviePy rounds): the best of three places counts.
    """
    if is_exact:
        return _compare(clip, edit, 0, every)
    places = {shift: _compare(clip, edit, shift, max(every, 10)).mean for shift in (0, 1, -1)}
    return _compare(clip, edit, max(places, key=places.__getitem__), every)


def _compare(clip: Path, edit: PartEdit, shift: int, every: int) -> Vmaf:
    rate = edit.frame_rate
    first = edit.bumper_frames
    number = f"settb={rate.denominator}/{rate.numerator},setpts=N"
    # Half a frame before the first one wanted, so that rounding leaves none out; the ends are left out.
    start_s = max(0.0, float((edit.part.start_frame - 0.5) / rate))
    made = f"trim=start_frame={first + 1}:end_frame={first + edit.part.frame_count - 1}"
    wanted = f"trim=start_frame={1 + shift}:end_frame={edit.part.frame_count - 1 + shift}"
    width, height, left, top = crop_box(edit.source)
    picture = f"crop={width}:{height}:{left}:{top},scale={edit.width}:{edit.height}:flags=bicubic,format=yuv420p"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vmaf.json"
        options = f"n_threads={os.cpu_count()}:n_subsample={every}:log_fmt=json:log_path={log}"
        graph = f"[0:v]{made},{number}[made];[1:v]{wanted},{number},{picture}[wanted];[made][wanted]libvmaf={options}"
        read = ["-i", str(clip), "-ss", f"{start_s:.6f}", "-i", str(edit.source_path)]
        command = [
            get_ffmpeg_exe(),
            "-nostdin",
            "-v",
            "error",
            *read,
            "-lavfi",
            graph,
            "-f",
            "null",
            "-",
        ]
        subprocess.run(command, check=True)
        pooled = json.loads(log.read_text())["pooled_metrics"]["vmaf"]
    return Vmaf(pooled["mean"], pooled["harmonic_mean"], pooled["min"])
