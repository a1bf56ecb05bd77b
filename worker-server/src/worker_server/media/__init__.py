"""The clip: what a source is, how it is cut, and the renderers that make the parts."""

from worker_server.media.errors import ClipRejected, EncodeFailed, MediaError, SourceError, Stopped
from worker_server.media.geometry import frame_size
from worker_server.media.plan import Part, plan_parts
from worker_server.media.probe import probe
from worker_server.media.sniff import sniff
from worker_server.media.source import ProbeLimits, Source

__all__ = [
    "ClipRejected",
    "EncodeFailed",
    "MediaError",
    "Part",
    "ProbeLimits",
    "Source",
    "SourceError",
    "Stopped",
    "frame_size",
    "plan_parts",
    "probe",
    "sniff",
]
