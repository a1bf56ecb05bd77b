"""Videos made by ffmpeg at test time, from its own pictures and tones."""

import subprocess
from pathlib import Path

import imageio_ffmpeg

FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")


def run_ffmpeg(*arguments: str | Path, stdin: bytes = b"", timeout_s: float = 120) -> None:
    """Run ffmpeg, overwriting its output; a failure raises CalledProcessError."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    subprocess.run([*command, *map(str, arguments)], input=stdin, check=True, timeout=timeout_s)


def encode(target: Path, *arguments: str | Path) -> bytes:
    """Run ffmpeg with `arguments`, writing `target`, and return what it wrote."""
    run_ffmpeg(*arguments, target)
    return target.read_bytes()


def picture(size: str, seconds: float, rate: int = 25) -> list[str]:
    """Return the arguments for a picture in which every frame differs from the one before."""
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]


def tone(seconds: float) -> list[str]:
    """Return the arguments for a sound that is never silent."""
    return ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={seconds}"]
