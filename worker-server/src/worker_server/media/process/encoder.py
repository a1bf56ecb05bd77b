"""Runs an encoder to its end: progress, stalls, stops, and what its failure means."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from worker_server.media.errors import (
    EncodeFailed,
    MediaError,
    MediaProcessCrashed,
    RendererDeclined,
    Stopped,
)
from worker_server.media.process import guard
from worker_server.media.process.child import ChildFiles, ChildLimits, end, spawn
from worker_server.media.process.pipes import Pipes

# Exit status of a renderer that finds it cannot handle the stream.
DECLINED_STATUS = 77

_POLL_S = 0.2
_MAX_LINE_BYTES = 4096
_NICE = 10

_STORAGE = ("No space left on device", "Disk quota exceeded")
_MEMORY = ("Cannot allocate memory", "MemoryError", "malloc of size")
# Errors of the storage: the file cannot be read, whatever its content.
_ABSENT = (
    "No such file or directory",
    "Permission denied",
    "Stale file handle",
    "Input/output error",
)
# Components in log lines of ffmpeg that are neither demuxers nor decoders.
_WRITER = ("[out#", "[vost#", "[aost#", "[enc:", "[libx264", "[mp4 @", "[matroska @", "muxer")
_DAMAGE = (
    "Invalid data found",
    "rror while decoding",
    "Decoding error",
    "Error submitting packet to decoder",
)


def run_encoder(
    command: list[str],
    *,
    total_frames: int,
    on_progress: Callable[[float], None],
    should_stop: Callable[[], bool],
    scratch: Path,
    files: ChildFiles | None = None,
    stall_s: float = 120.0,
    timeout_s: float = 3600.0,
    memory_bytes: int = 0,
    max_output_bytes: int = 0,
) -> None:
    """Run a renderer's command; call `on_progress` (0 … 1) and `should_stop` five times a second.

    It runs in the sandbox, in `scratch` as its working directory, with no other file than `files`
    (None: `scratch` alone). Whatever happens, an exception in a callback included, no process of it
    outlives this call. Call it from a thread that lives as long as it takes: the child is killed
    with the thread. Raise EncodeFailed, MediaProcessCrashed where the command never began, or
    Stopped once `should_stop` returned true. After a return the file still has to be verified.
    """
    limits = ChildLimits(
        # A backstop if this process is killed or frozen: the CPU time that 64 busy cores use until
        # the timeout.
        cpu_s=int(timeout_s * 64),
        memory_bytes=memory_bytes,
        file_bytes=max_output_bytes,
        open_files=256,
        nice=_NICE,
    )
    process = spawn(command, limits, files or ChildFiles(write=(scratch,)), scratch)
    progress = _Progress(total_frames, stall_s, timeout_s)
    try:
        with Pipes(process, progress.read) as pipes:
            while not pipes.has_ended:
                pipes.transfer(_POLL_S)
                on_progress(progress.fraction)
                if should_stop():
                    raise Stopped
                progress.check_time()
            pipes.drain()
    finally:
        status = end(process)
    if status != 0:
        raise _failure(status, pipes.stderr_tail.decode(errors="replace").strip())
    on_progress(1.0)


class _Progress:
    """The frames that an encoder says it has made, and the time that it has left."""

    def __init__(self, total_frames: int, stall_s: float, timeout_s: float) -> None:
        self._total_frames = max(1, total_frames)
        self._stall_s, self._timeout_s = stall_s, timeout_s
        self._frames, self._rest = 0, b""
        self._began_at = self._moved_at = time.monotonic()

    @property
    def fraction(self) -> float:
        return min(1.0, self._frames / self._total_frames)

    def read(self, chunk: bytes) -> None:
        """Take more of the encoder's standard output: lines such as `frame=25`."""
        *lines, self._rest = (self._rest[-_MAX_LINE_BYTES:] + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b"=")
            if name == b"frame" and value.strip().isdigit() and int(value) > self._frames:
                self._frames, self._moved_at = int(value), time.monotonic()

    def check_time(self) -> None:
        """Raise EncodeFailed where the encoder takes too long, as a whole or for one frame."""
        now = time.monotonic()
        if now - self._began_at > self._timeout_s:
            message = f"The encoder took more than {self._timeout_s:g} s."
            raise EncodeFailed("encoder_timeout", message, retryable=True)
        if now - self._moved_at > self._stall_s:
            message = f"The encoder made no frame for {self._stall_s:g} s."
            raise EncodeFailed("encoder_stalled", message, retryable=True)


def _failure(status: int, stderr_tail: str) -> MediaError:
    """Return what an exit status and the end of standard error mean."""
    if status == guard.FAILED_STATUS:
        return MediaProcessCrashed("encoder", stderr_tail)
    if status == DECLINED_STATUS:
        return RendererDeclined(stderr_tail)
    code, message, retryable = _failure_of(status, stderr_tail)
    return EncodeFailed(code, message, retryable=retryable, stderr_tail=stderr_tail)


def _failure_of(status: int, stderr_tail: str) -> tuple[str, str, bool]:
    if status == -signal.SIGXFSZ or "File too large" in stderr_tail:
        return "clip_too_large", "The clip is larger than it may be.", False
    if _any_of(_STORAGE, stderr_tail):
        return "storage_full", "There is no room for the clip.", True
    if status == -signal.SIGXCPU:
        return "encoder_timeout", "The encoder took too much processor time.", True
    if status < 0:
        return "encoder_killed", f"The encoder was ended by signal {-status}.", True
    if _any_of(_MEMORY, stderr_tail):
        return "encoder_out_of_memory", "The encoder needs too much memory for this video.", False
    # ffmpeg calls an input "invalid" too when it cannot open the file.
    if _any_of(_DAMAGE, _reader_lines(stderr_tail)) and not _any_of(_ABSENT, stderr_tail):
        return "source_damaged", "The video is damaged.", False
    return "encoder_failed", f"The encoder failed with status {status}.", True


def _reader_lines(stderr_tail: str) -> str:
    """Return the lines that come from demuxers and decoders, not from encoders or muxers."""
    lines = stderr_tail.splitlines()
    return "\n".join(line for line in lines if not _any_of(_WRITER, line))


def _any_of(patterns: tuple[str, ...], stderr_tail: str) -> bool:
    return any(pattern in stderr_tail for pattern in patterns)
