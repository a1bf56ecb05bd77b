"""How close a clip looks to its source: VMAF and chroma SSIM, by imageio-ffmpeg's ffmpeg.

Colour tags are removed from both sides first: where they differ, ffmpeg inserts a conversion of the
colour matrix by itself, and the figures then measure tags instead of pictures.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server.media import PartEdit
from worker_server.media.model.colour import needs_conversion
from worker_server.media.model.geometry import crop_box

_NO_TAGS = "setparams=range=unknown:color_primaries=unknown:color_trc=unknown:colorspace=unknown"
_CHROMA = re.compile(r"\bU:([\d.]+) V:([\d.]+)")
_SEARCH_EVERY = 10  # frames, while the shift of an inexact clip is searched
# What tables show of it, after the columns of usage.
MEASURES = ("vmaf_mean", "vmaf_low", "vmaf_worst", "chroma_ssim")
COLUMNS = ("VMAF", "VMAF 1 % low", "VMAF worst frame", "chroma SSIM")


@dataclass(frozen=True)
class Quality:
    """Over the frames of the part, without the bumpers.

    VMAF (v0.6.1) sees luma alone; 100 is best.
    """

    vmaf_mean: float
    vmaf_low: float  # one frame in a hundred is worse
    vmaf_worst: float
    chroma_ssim: float  # mean of both chroma planes; 1 is best

    def sample(self) -> dict[str, float]:
        return asdict(self)


def quality(clip: Path, edit: PartEdit, every: int = 1, *, is_exact: bool = True) -> Quality:
    """Compare every `every`-th frame of the clip's part with the source, cropped and scaled.

    A clip that is not exact may be shifted by a frame (MoviePy rounds): the best of three shifts
    counts. Raises ValueError for a source whose pixel values have to change (full range, HDR,
    another matrix or pixel format): then the reference would be wrong.
    """
    if needs_conversion(edit.source):
        raise ValueError(f"{edit.source_path} is not limited-range BT.709 in yuv420p")
    if is_exact:
        return _compare(clip, edit, 0, every)
    search_every = max(every, _SEARCH_EVERY)
    means = {shift: _compare(clip, edit, shift, search_every).vmaf_mean for shift in (0, 1, -1)}
    return _compare(clip, edit, max(means, key=means.__getitem__), every)


def _compare(clip: Path, edit: PartEdit, shift: int, every: int) -> Quality:
    # Half a frame before the first one wanted, so that rounding leaves none out.
    start_s = max(0.0, float((edit.part.start_frame - 0.5) / edit.frame_rate))
    inputs = ["-i", str(clip), "-ss", f"{start_s:.6f}", "-i", str(edit.source_path)]
    with tempfile.TemporaryDirectory() as folder:
        vmaf_log, ssim_log = Path(folder) / "vmaf.json", Path(folder) / "ssim.txt"
        graph = _graph(edit, shift, every, vmaf_log, ssim_log)
        command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", *inputs, "-lavfi", graph]
        command += ["-map", "[vmaf]", "-f", "null", "-", "-map", "[ssim]", "-f", "null", "-"]
        subprocess.run(command, check=True)
        return _pooled(json.loads(vmaf_log.read_text()), ssim_log.read_text())


def _graph(edit: PartEdit, shift: int, every: int, vmaf_log: Path, ssim_log: Path) -> str:
    """Return the filters that bring both sides to the same frames, and compare them twice."""
    first, count = edit.frames_before, edit.part.frame_count
    numbered = f"settb={edit.frame_rate.denominator}/{edit.frame_rate.numerator},setpts=N"
    # The first and the last frame are left out, so that a shifted reference has all of them.
    clip = f"trim=start_frame={first + 1}:end_frame={first + count - 1}"
    reference = f"trim=start_frame={1 + shift}:end_frame={count - 1 + shift}"
    width, height, left, top = crop_box(edit.source)
    crop = f"crop={width}:{height}:{left}:{top}"
    scale = f"scale={edit.width}:{edit.height}:flags=bicubic"
    thin = f"select='not(mod(n,{every}))',setpts=N"
    vmaf = f"libvmaf=n_threads={os.cpu_count()}:log_fmt=json:log_path={vmaf_log}"
    return (
        f"[0:v]{_NO_TAGS},{clip},{numbered},{thin},split[clip1][clip2];"
        f"[1:v]{_NO_TAGS},{reference},{numbered},{thin},{crop},{scale},format=yuv420p,"
        "split[ref1][ref2];"
        f"[clip1][ref1]{vmaf}[vmaf];[clip2][ref2]ssim=stats_file={ssim_log}[ssim]"
    )


def _pooled(vmaf_log: dict[str, list[dict[str, dict[str, float]]]], ssim_log: str) -> Quality:
    scores = sorted(frame["metrics"]["vmaf"] for frame in vmaf_log["frames"])
    chroma = [float(value) for planes in _CHROMA.findall(ssim_log) for value in planes]
    return Quality(mean(scores), scores[len(scores) // 100], scores[0], mean(chroma))
