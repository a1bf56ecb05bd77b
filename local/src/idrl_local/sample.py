"""The sample video, and a web server on loopback for a video to be fetched from."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imageio_ffmpeg


class SampleFailed(Exception):
    """ffmpeg did not make the sample."""


def make(path: Path, *, seconds: int, width: int, height: int) -> None:
    """Write a moving test picture with a tone, 25 frames a second; raise SampleFailed."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"),
        *("-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate=25:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"),
        *("-movflags", "+faststart", str(path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SampleFailed(f"ffmpeg could not make the sample: {done.stderr}")


@contextmanager
def served(video: Path) -> Iterator[str]:
    """Serve one file on loopback for as long as the block lasts; the value is its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_OneFile, video))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _OneFile(SimpleHTTPRequestHandler):
    """Answers every path with the same file, so that its name needs no escaping."""

    def __init__(self, video: Path, *arguments: object) -> None:
        self._video = video
        super().__init__(*arguments)  # type: ignore[arg-type] # what the server hands to every handler

    def translate_path(self, path: str) -> str:  # noqa: ARG002 # there is only one
        return str(self._video)

    def log_message(self, *_: object) -> None:
        """Log no request: the terminal shows the progress."""
