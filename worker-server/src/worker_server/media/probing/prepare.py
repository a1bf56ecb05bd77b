"""Brings a source into a form that every part can be cut from exactly."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker_server.media.errors import EncodeFailed
from worker_server.media.model import colour
from worker_server.media.model.source import Preparation, ProbeLimits, Source
from worker_server.media.probing.intermediate import child_command
from worker_server.media.probing.probe import probe
from worker_server.media.probing.remux import remux_command
from worker_server.media.process.child import ChildFiles
from worker_server.media.process.encoder import run_encoder

_NORMALIZE_CHILD = "worker_server.media.probing.normalize_child"


@dataclass(frozen=True)
class PrepareWatch:
    """How preparing is watched, and what it may use; `on_progress` gets 0 … 1."""

    ffmpeg_path: str
    limits: ProbeLimits = field(default_factory=ProbeLimits)
    on_progress: Callable[[float], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    stall_s: float = 120.0
    timeout_s: float = 3600.0
    memory_bytes: int = 0
    max_output_bytes: int = 0

    def run(self, command: list[str], total_frames: int, output: Path, files: ChildFiles) -> None:
        """Run a child that writes `output`; raise EncodeFailed or Stopped."""
        output.touch()  # the sandboxed child may write this file, but create none
        run_encoder(
            command,
            total_frames=total_frames,
            on_progress=self.on_progress,
            should_stop=self.should_stop,
            scratch=output.parent,
            files=files,
            stall_s=self.stall_s,
            timeout_s=self.timeout_s,
            memory_bytes=self.memory_bytes,
            max_output_bytes=self.max_output_bytes,
        )


def prepare(source: Source, path: Path, output: Path, watch: PrepareWatch) -> tuple[Source, Path]:
    """Return the facts and the path of the file to cut parts from: the source, or `output`.

    The facts of a normalized source say so: its pictures are no longer those of the source. Where a
    remux fails or loses frames, the source is normalized instead. Raise EncodeFailed, SourceError
    or Stopped.
    """
    if source.preparation is Preparation.NONE:
        return source, path
    if source.preparation is Preparation.REMUX:
        copied = _remuxed(source, path, output, watch)
        if copied:
            return copied, output
    _normalize(source, path, output, watch)
    facts = probe(output, limits=watch.limits, should_stop=watch.should_stop)
    return replace(facts, preparation=Preparation.NORMALIZE), output


def _normalize(source: Source, path: Path, output: Path, watch: PrepareWatch) -> None:
    """Normalize the source; without its alpha where the result is too large with it."""
    try:
        _run(child_command(_NORMALIZE_CHILD, source, path, output), source, path, output, watch)
    except EncodeFailed as error:
        if error.code != "clip_too_large" or not colour.has_alpha(source):
            raise
        opaque = replace(source, pix_fmt="yuv420p")
        _run(child_command(_NORMALIZE_CHILD, opaque, path, output), source, path, output, watch)


def _remuxed(source: Source, path: Path, output: Path, watch: PrepareWatch) -> Source | None:
    """Remux the source and probe the result; None where that fails or frames are missing."""
    try:
        _run(remux_command(source, path, output, watch.ffmpeg_path), source, path, output, watch)
    except EncodeFailed as error:
        if error.code not in ("encoder_failed", "source_damaged"):
            raise
        return None
    copied = probe(output, limits=watch.limits, should_stop=watch.should_stop)
    is_whole = (copied.frame_count, copied.frame_rate) == (source.frame_count, source.frame_rate)
    return copied if is_whole and copied.preparation is Preparation.NONE else None


def _run(command: list[str], source: Source, path: Path, output: Path, watch: PrepareWatch) -> None:
    files = ChildFiles((path,), (output,), (Path(watch.ffmpeg_path),))
    watch.run(command, source.packet_count, output, files)
