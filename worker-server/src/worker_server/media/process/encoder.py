"""Runs an encoder to its end: progress, stalls, stops, and what its failure means."""

import os
import selectors
import signal
import subprocess
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
from worker_server.media.process.child import (
    ChildFiles,
    ChildLimits,
    await_end,
    end,
    has_ended,
    spawn,
)

# Exit status of a renderer that finds it cannot handle the stream.
DECLINED_STATUS = 77

_POLL_S = 0.2
_TAIL_BYTES = 4096
_READ_BYTES = 65536
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
    files = files or ChildFiles(write=(scratch,))
    run = _Run(spawn(command, limits, files, scratch), total_frames)
    try:
        run.follow(on_progress, should_stop, stall_s, timeout_s)
    finally:
        status = end(run.process)
    if status != 0:
        raise _failure(status, run.stderr_tail)
    on_progress(1.0)


class _Run:
    """One encoder process: its progress and the end of its standard error."""

    def __init__(self, process: "subprocess.Popen[bytes]", total_frames: int) -> None:
        self.process = process
        self._total_frames = max(1, total_frames)
        self._frames = 0
        self._rest, self._stderr_tail = b"", b""
        self._moved_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        for pipe, callback in (
            (process.stdout, self._read_progress),
            (process.stderr, self._read_stderr),
        ):
            if pipe:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_READ, callback)

    @property
    def stderr_tail(self) -> str:
        return self._stderr_tail.decode(errors="replace").strip()

    def follow(
        self,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
        stall_s: float,
        timeout_s: float,
    ) -> None:
        """Return when the encoder has ended and its standard error is read."""
        deadline = self._moved_at + timeout_s
        while not has_ended(self.process):
            self._read(_POLL_S)
            on_progress(min(1.0, self._frames / self._total_frames))
            if should_stop():
                raise Stopped
            self._check_time(deadline, timeout_s, stall_s)
        self._read(0)

    def _read(self, for_s: float) -> None:
        """Read the encoder's output until the time is up or both pipes close; 0: what is there."""
        until = time.monotonic() + for_s
        while self._selector.get_map():
            ready = self._selector.select(max(0.0, until - time.monotonic()))
            for key, _ in ready:
                chunk = os.read(key.fd, _READ_BYTES)
                if chunk:
                    key.data(chunk)
                else:
                    self._selector.unregister(key.fileobj)
            if not ready or (for_s and time.monotonic() >= until):
                return
        # Both pipes are closed, so the process is about to exit.
        await_end(self.process, max(0.0, until - time.monotonic()))

    def _read_progress(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest[-_TAIL_BYTES:] + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b"=")
            if name == b"frame" and value.strip().isdigit() and int(value) > self._frames:
                self._frames, self._moved_at = int(value), time.monotonic()

    def _read_stderr(self, chunk: bytes) -> None:
        self._stderr_tail = (self._stderr_tail + chunk)[-_TAIL_BYTES:]

    def _check_time(self, deadline: float, timeout_s: float, stall_s: float) -> None:
        now = time.monotonic()
        if now > deadline:
            raise EncodeFailed(
                "encoder_timeout", f"The encoder took more than {timeout_s:g} s.", retryable=True
            )
        if now - self._moved_at > stall_s:
            raise EncodeFailed(
                "encoder_stalled", f"The encoder made no frame for {stall_s:g} s.", retryable=True
            )


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
