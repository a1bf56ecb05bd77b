"""What other packages use of this one: sources, edits, and the renderers that make the parts."""

from worker_server.media.cutting.cutting import plan_cuts
from worker_server.media.errors import (
    ClipRejected,
    EditError,
    EncodeFailed,
    MediaError,
    MediaProcessCrashed,
    RendererDeclined,
    SourceError,
    Stopped,
)
from worker_server.media.model.brand import DEFAULT_LOGO, Brand, Bumper, Place, Watermark
from worker_server.media.model.edit import PROFILES, PartEdit, Profile, Quality
from worker_server.media.model.geometry import Aspect, Fit, frame_size
from worker_server.media.model.plan import (
    Cut,
    FrameRange,
    PlannedClip,
    TimeRange,
    plan_clips,
    plan_parts,
)
from worker_server.media.model.source import Preparation, ProbeLimits, Source
from worker_server.media.probing.prepare import PrepareWatch, prepare
from worker_server.media.probing.probe import Prober, WarmProber, probe
from worker_server.media.probing.sniff import sniff
from worker_server.media.process.child import ChildFiles
from worker_server.media.process.encoder import run_encoder
from worker_server.media.process.sandbox import SandboxReport, sandbox_report
from worker_server.media.rendering.render import (
    RenderedClip,
    RenderLimits,
    RenderWatch,
    clip_files,
    render,
)
from worker_server.media.rendering.renderer import Renderer
from worker_server.media.rendering.renderers import renderer, renderers
from worker_server.media.verifying.verify import ClipFacts, Verifier, verify_clip
