"""Finds out what a source is, by its packets, in a child process."""

from pathlib import Path

from worker_server.media.child import ChildFailed, ChildLimits, ask
from worker_server.media.errors import SourceError
from worker_server.media.sniff import sniff
from worker_server.media.source import ProbeLimits, Source

_CHILD = "worker_server.media.probe_child"


def probe(path: Path, *, limits: ProbeLimits | None = None) -> Source:
    """Return the facts of a local file. Raise SourceError if no clips can be made of it.

    Takes as long as reading the file once; memory does not grow with its size.
    """
    limits = limits or ProbeLimits()
    question = {"path": str(path.absolute()), "demuxer": sniff(path), "limits": limits.to_json()}
    # The deadline is the real limit; the kernel's is for a parent that died or hangs.
    child_limits = ChildLimits(cpu_s=int(limits.timeout_s) + 1, memory_bytes=limits.memory_bytes, file_bytes=1)
    try:
        answer = ask(_CHILD, question, child_limits, limits.timeout_s)
    except ChildFailed as error:
        raise SourceError("source_limits", "Looking at the video took too much time or memory.") from error
    if "error" in answer:
        raise SourceError(answer["error"]["code"], answer["error"]["message"])
    return Source.from_json(answer["source"])
