"""Proves at a worker's start that its sandbox, probe, renderer and logo work.

A library of the wrong version or a logo that cannot be read would otherwise fail one task after
the other, as if each video were to blame.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker_server.errors import WorkFailed
from worker_server.media.model.brand import DEFAULT_LOGO
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.plan import plan_parts
from worker_server.media.probing.probe import probe
from worker_server.media.process.guard import SandboxFailed
from worker_server.media.process.sandbox import SandboxReport, measure_sandbox
from worker_server.media.rendering.render import RenderWatch, render
from worker_server.media.rendering.renderers import renderer

_FRAMES = 5
_SAMPLE = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=5:d=1", "-f", "lavfi", "-i", "sine=d=1")
_ENCODING = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")
_LOGO_S = 0.2
_TIMEOUT_S = 120  # generous: a lack of CPU must not fail the self-test


class SelfTestFailed(Exception):
    """The worker cannot do its work; `str()` is one sentence for the operator."""


def check_sandbox(*, allow_none: bool) -> SandboxReport:
    """Return what `measure_sandbox` found.

    Raise SelfTestFailed where the sandbox cannot be tested or, unless `allow_none`, lets something
    through or refuses what decoders need.
    """
    try:
        report = measure_sandbox()
    except SandboxFailed as error:
        raise SelfTestFailed(f"The sandbox of the decoders cannot be tried: {error}.") from error
    if report.holds or allow_none:
        return report
    unblocked = ", ".join((*report.missing, *report.escapes))
    raise SelfTestFailed(
        f"The sandbox of the decoders does not hold on this machine ({unblocked});"
        " it needs a Linux with Landlock (5.13 or newer)."
        " ALLOW_NO_SANDBOX=1 starts the worker all the same."
    )


def check_probe(ffmpeg_path: str) -> None:
    """Probe a second of video. Raise SelfTestFailed if that goes wrong."""
    with _sample(ffmpeg_path) as path:
        _probed(path)


def check_renderer(engine: str, ffmpeg_path: str, logo_path: Path | None) -> None:
    """Render a second of video with the logo.

    Raise SelfTestFailed if that goes wrong, naming the logo where it is the cause.
    """
    if logo_path is not None and not logo_path.is_file():
        raise SelfTestFailed(f"LOGO_PATH names no file: {logo_path}.")
    with _sample(ffmpeg_path) as path:
        failure = _render_failure(path, engine, ffmpeg_path, logo_path or DEFAULT_LOGO)
        if failure is None:
            return
        if logo_path is not None and not _render_failure(path, engine, ffmpeg_path, DEFAULT_LOGO):
            raise SelfTestFailed(f"LOGO_PATH cannot be drawn: {logo_path} ({failure}).")
    raise SelfTestFailed(f"The renderer {engine} does not work: {failure}.")


def _probed(path: Path) -> PartEdit:
    try:
        source = probe(path)
    except WorkFailed as error:
        raise SelfTestFailed(f"The probe does not work: {_reason(error)}.") from error
    if source.frame_count != _FRAMES or not source.has_audio:
        raise SelfTestFailed(f"The probe counts {source.frame_count} frames, not {_FRAMES}.")
    return PartEdit.of(source, path, plan_parts(source)[0], logo_s=_LOGO_S)


def _render_failure(path: Path, engine: str, ffmpeg_path: str, logo_path: Path) -> str | None:
    edit = _probed(path)
    logo_edit = PartEdit.of(
        edit.source, path, edit.part, logo_path=logo_path.absolute(), logo_s=_LOGO_S
    )
    try:
        render(
            logo_edit, path.with_name("clip.mp4"), [renderer(engine, ffmpeg_path)], RenderWatch()
        )
    except WorkFailed as error:
        return _reason(error)
    return None


def _reason(error: WorkFailed) -> str:
    """Return the last line of the error: a child's output ends with the cause."""
    return str(error).strip().splitlines()[-1].rstrip(".")


@contextmanager
def _sample(ffmpeg_path: str) -> Iterator[Path]:
    """Make a second of video with sound in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="idrl-selftest-") as folder:
        path = Path(folder).resolve() / "sample.mp4"
        command = [ffmpeg_path, "-v", "error", *_SAMPLE, *_ENCODING, str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise SelfTestFailed(f"ffmpeg does not work: {error}.") from error
        yield path
