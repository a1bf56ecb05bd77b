"""Makes and verifies the clip of a part, with the first renderer that can."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker_server.errors import FailureCode
from worker_server.media.errors import ClipRejected, EncodeFailed
from worker_server.media.model.edit import PartEdit
from worker_server.media.process.child import ChildFiles
from worker_server.media.process.encoder import run_encoder
from worker_server.media.rendering.renderer import RenderedBy, Renderer
from worker_server.media.verifying.verify import ClipFacts, Verifier

_log = logging.getLogger(__name__)
_START_VERIFIER_AT = 0.5  # progress; its libraries load during the rest of the render


@dataclass(frozen=True)
class RenderLimits:
    """What a renderer may use; 0 bytes are no limit."""

    stall_s: float = 120.0
    timeout_s: float = 3600.0
    memory_bytes: int = 0
    max_output_bytes: int = 0


@dataclass(frozen=True)
class RenderWatch:
    """How a render is watched: both callbacks run about five times a second.

    `on_progress` gets 0 … 1.
    """

    on_progress: Callable[[float], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    limits: RenderLimits = field(default_factory=RenderLimits)


@dataclass(frozen=True)
class RenderedClip:
    """A verified clip."""

    facts: ClipFacts
    rendered_by: RenderedBy


def render(
    edit: PartEdit, output: Path, renderers: Sequence[Renderer], watch: RenderWatch
) -> RenderedClip:
    """Write the clip of `edit` to `output` with the first of `renderers` that can, and verify it.

    A renderer that declines, fails or makes a clip that is rejected is followed by the next one
    that can render the edit; the last one's failure is the caller's: EncodeFailed or ClipRejected.
    One that conceals damage is tried only where damage may explain the failure before. Raise
    Stopped once `watch.should_stop` returned true, ValueError where no renderer can.
    `output.parent` is the working directory, and may hold unfinished files after a failure.
    """
    failure: EncodeFailed | ClipRejected | None = None
    for renderer in renderers:
        if not renderer.can_render(edit) or (renderer.conceals and not _is_damage(failure)):
            continue
        try:
            return _run(renderer, edit, output, watch)
        except (EncodeFailed, ClipRejected) as error:
            # Try the next renderer: if the source or the machine is at fault, it fails too and
            # reports it.
            extra = {"part": edit.part.number, "detail": str(error)}
            _log.info("not rendered by %s", type(renderer).__name__, extra=extra)
            failure = error
    raise failure or ValueError("no renderer can make this clip")


def _is_damage(failure: EncodeFailed | ClipRejected | None) -> bool:
    """Return whether damage may be the cause.

    Some decoders drop frames without a warning, or give them times that no encoder takes.
    """
    codes = (FailureCode.SOURCE_DAMAGED, FailureCode.CLIP_REJECTED, FailureCode.ENCODER_FAILED)
    return failure is not None and failure.code in codes


def clip_files(renderer: Renderer, edit: PartEdit, output: Path) -> ChildFiles:
    """Return the files that a renderer's command may use."""
    return ChildFiles(
        read=(edit.source_path, *edit.brand.files),
        write=(output.parent,),
        programs=(renderer.ffmpeg_path,),
    )


def _run(renderer: Renderer, edit: PartEdit, output: Path, watch: RenderWatch) -> RenderedClip:
    """Run one renderer to its end, and verify its clip."""
    with Verifier() as verifier:

        def on_progress(fraction: float) -> None:
            watch.on_progress(fraction)
            if fraction > _START_VERIFIER_AT:
                verifier.start()

        try:
            _encode(renderer, edit, output, replace(watch, on_progress=on_progress))
        except EncodeFailed as error:
            if renderer.conceals and error.code == FailureCode.ENCODER_FAILED:
                # Of a part in which nothing can be decoded there is nothing to encode.
                with suppress(ClipRejected):
                    verifier.check(output, edit, watch.should_stop, conceals=True)
            raise
        facts = verifier.check(output, edit, watch.should_stop, conceals=renderer.conceals)
    return RenderedClip(facts, renderer.rendered_by)


def _encode(renderer: Renderer, edit: PartEdit, output: Path, watch: RenderWatch) -> None:
    run_encoder(
        renderer.command(edit, output),
        total_frames=edit.total_frames,
        on_progress=watch.on_progress,
        should_stop=watch.should_stop,
        scratch=output.parent,
        files=clip_files(renderer, edit, output),
        stall_s=watch.limits.stall_s,
        timeout_s=watch.limits.timeout_s,
        memory_bytes=watch.limits.memory_bytes,
        max_output_bytes=watch.limits.max_output_bytes,
    )
