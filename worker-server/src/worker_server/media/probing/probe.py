"""Finds out what a source is, by its packets, in a child process."""

from collections.abc import Callable
from pathlib import Path

from worker_server.media.errors import SourceError
from worker_server.media.model.source import ProbeLimits, Source
from worker_server.media.probing.sniff import sniff
from worker_server.media.process.child import (
    Child,
    ChildFailed,
    ChildFiles,
    ChildLimitHit,
    ChildLimits,
    as_media_error,
    has_ended,
)

_CHILD = "worker_server.media.probing.probe_child"
_SLOWEST_BYTES_PER_S = 5_000_000
# The time of the last frame is limited exactly; its end, or the sound's, may be a little later.
_LONGER_S = 1


class Prober(Child):
    """A child process that is ready to probe one source."""

    def __init__(self, limits: ProbeLimits) -> None:
        self.limits = limits
        # CPU time is the limit for an expensive source, wall-clock time the one for slow storage.
        cpu_s = int(limits.timeout_s) + 1
        super().__init__(
            _CHILD, ChildLimits(cpu_s=cpu_s, memory_bytes=limits.memory_bytes, file_bytes=1)
        )

    def probe(self, path: Path, should_stop: Callable[[], bool]) -> Source:
        """Return the facts of a local file.

        Raise SourceError if no clips can be made of it, EncodeFailed (`probe_timeout`, retryable)
        when there was no answer in time, MediaProcessCrashed, Stopped. Takes as long as reading the
        file once; memory does not grow with its size.
        """
        payload = {
            "path": str(path.absolute()),
            "demuxer": sniff(path),
            "limits": self.limits.to_json(),
        }
        timeout_s = 2 * self.limits.timeout_s + path.stat().st_size / _SLOWEST_BYTES_PER_S
        try:
            answer = self.request(payload, timeout_s, should_stop, ChildFiles(read=(path,)))
        except ChildLimitHit as error:
            raise SourceError(
                "source_limits", "Reading the video took too much time or memory."
            ) from error
        except ChildFailed as error:
            raise as_media_error(error, "probe", "Reading the video took too long.") from error
        if "error" in answer:
            raise SourceError(answer["error"]["code"], answer["error"]["message"])
        source = Source.from_json(answer["source"])
        _check_length(source, self.limits)
        return source


def _check_length(source: Source, limits: ProbeLimits) -> None:
    """Raise SourceError where the last picture or the sound lasts beyond the limit.

    A file may give its last packet any duration, and a child that it has taken over may answer
    anything: each part would take memory of the worker.
    """
    if source.frame_count > (limits.max_duration_s + _LONGER_S) * source.frame_rate:
        message = f"The video is longer than {limits.max_duration_s:g} s."
        raise SourceError("source_too_long", message)


class WarmProber:
    """Keeps one child ready between sources: its imports take longer than most probes."""

    def __init__(self) -> None:
        self._prober: Prober | None = None

    def prepare(self, limits: ProbeLimits) -> None:
        """Start the child now, in the thread that will use it: the child ends with that thread."""
        self.close()
        self._prober = Prober(limits)
        self._prober.start()

    def acquire(self, limits: ProbeLimits) -> Prober:
        """Return the child if it is alive and has these limits, else a new one for the caller."""
        prober, self._prober = self._prober, None
        if prober and prober.limits == limits and not has_ended(prober.start()):
            return prober
        if prober:
            prober.close()
        return Prober(limits)

    def close(self) -> None:
        """End the child, if there is one."""
        if self._prober:
            self._prober.close()
            self._prober = None


def probe(
    path: Path,
    *,
    limits: ProbeLimits | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Source:
    """Probe the file in a new child process."""
    with Prober(limits or ProbeLimits()) as prober:
        return prober.probe(path, should_stop)
