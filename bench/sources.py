"""The videos that are measured with: made by ffmpeg once, kept in .cache/bench."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

CACHE = Path(__file__).parents[1] / ".cache" / "bench"

# Each picture is a filter graph of {w}, {h}, {r}: size and frame rate.
PICTURES = {
    # Sharp edges and film grain that moves: hard to encode.
    "grain": "testsrc2=size={w}x{h}:rate={r},noise=alls=3:allf=t",
    # Endless detail that zooms in; drawn at a third of the size, as it costs a lot.
    "zoom": "mandelbrot=size={w3}x{h3}:rate={r}:end_pts=400,scale={w}:{h}:flags=bicubic,setsar=1,noise=alls=2:allf=t",
    # A still with fine detail, panned: nothing changes but the place.
    "pan": "mandelbrot=size={w2}x{h2}:rate={r}:start_scale=0.05,loop=loop=-1:size=1,setpts=N/({r}*TB),"
    "crop={w}:{h}:x='(iw-ow)*(0.5+0.5*sin(t/3))':y='(ih-oh)*(0.5+0.5*cos(t/4))'",
}


@dataclass(frozen=True)
class Spec:
    """A video to be made: its picture is one of PICTURES."""

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
    """Return what a site for videos delivers: a steady bit rate, key frames at a fixed distance."""
    steady = f"-b:v {rate_mbit_s}M -maxrate {rate_mbit_s}M -bufsize {rate_mbit_s}M"
    encoder = f"-c:v libx264 -preset veryfast {steady} -sc_threshold 0 -pix_fmt yuv420p -g {key_frames_s * 30}"
    return Spec("zoom", *size, 30, seconds, encoder=encoder)


# One of every kind: sizes, rates, with and without sound.
CORPUS = (
    Spec("grain", 1280, 720, 24, 12),
    Spec("zoom", 1920, 1080, 30, 12),
    Spec("pan", 1920, 1080, 60, 12, has_sound=False),
    Spec("grain", 3840, 2160, 30, 6),
    Spec("zoom", 1080, 1920, 30, 12),
)
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
    w, h = spec.width, spec.height
    even = {"w3": w // 3 & -2, "h3": h // 3 & -2, "w2": w * 5 // 4 & -2, "h2": h * 5 // 4 & -2}
    picture = PICTURES[spec.picture].format(w=w, h=h, r=spec.rate, **even)
    read = ["-f", "lavfi", "-i", picture]
    if spec.has_sound:
        read += [
            "-f",
            "lavfi",
            "-i",
            "anoisesrc=color=pink:amplitude=0.2:sample_rate=48000",
            "-c:a",
            "aac",
        ]
    colours = "-color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709"
    write = [
        *spec.encoder.split(),
        *colours.split(),
        "-t",
        str(spec.seconds),
        "-movflags",
        "+faststart",
    ]
    return ["-nostdin", "-v", "error", "-y", *read, *write]
