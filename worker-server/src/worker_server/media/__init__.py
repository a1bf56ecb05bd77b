"""The clip: what a source is, how it is cut, and the renderers that make the parts."""

from worker_server.media.copying import copy_command, may_copy
from worker_server.media.edit import DEFAULT_LOGO, PartEdit, Profile
from worker_server.media.errors import ClipRejected, EncodeFailed, MediaError, SourceError, Stopped
from worker_server.media.geometry import frame_size
from worker_server.media.plan import Part, plan_parts
from worker_server.media.probe import Prober, probe, spare
from worker_server.media.remux import needs_remux, remux_command
from worker_server.media.render import Renderer, renderer
from worker_server.media.run import run_encoder
from worker_server.media.sniff import sniff
from worker_server.media.source import ProbeLimits, Source
from worker_server.media.verify import ClipFacts, Verifier, verify_clip

__all__ = [
    "DEFAULT_LOGO",
    "ClipFacts",
    "ClipRejected",
    "EncodeFailed",
    "MediaError",
    "Part",
    "PartEdit",
    "ProbeLimits",
    "Prober",
    "Profile",
    "Renderer",
    "Source",
    "SourceError",
    "Stopped",
    "Verifier",
    "copy_command",
    "frame_size",
    "may_copy",
    "needs_remux",
    "plan_parts",
    "probe",
    "remux_command",
    "renderer",
    "run_encoder",
    "sniff",
    "spare",
    "verify_clip",
]
