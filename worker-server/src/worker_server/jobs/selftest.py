"""The self-test that a worker passes before it claims work."""

import logging
from collections.abc import Collection

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server.media import selftest
from worker_server.queue.claims import Kind
from worker_server.settings import Settings

_log = logging.getLogger(__name__)


def run_selftest(settings: Settings, queues: Collection[str]) -> None:
    """Try what the work of these queues needs.

    Raise SelfTestFailed, whose text is for the operator.
    """
    if not set(Kind) & set(queues):
        return
    try:
        _run_selftest(settings, queues)
    except OSError as error:  # no space is left in the temporary folder, for example
        raise selftest.SelfTestFailed(f"Nothing can be tried on this machine: {error}.") from error


def _run_selftest(settings: Settings, queues: Collection[str]) -> None:
    report = selftest.check_sandbox(allow_none=settings.allow_no_sandbox)
    level = _log.info if report.holds else _log.warning
    level("sandbox", extra={"level": report.level, "not_refused": list(report.escapes)})
    ffmpeg = get_ffmpeg_exe()
    if Kind.FETCH in queues:
        selftest.check_probe(ffmpeg)
    if Kind.RENDER in queues:
        selftest.check_renderer(settings.render_engine, ffmpeg, settings.logo_path)
