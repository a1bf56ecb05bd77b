"""Whose fault a crash of a media child is: the video's, or this machine's."""

import logging

from worker_server.errors import FailureCode, WorkFailed
from worker_server.jobs.selftest import run_selftest
from worker_server.media import MediaProcessCrashed
from worker_server.media.selftest import SelfTestFailed
from worker_server.queue.claims import Lease
from worker_server.settings import Settings

_log = logging.getLogger(__name__)


def classify_crash(crash: MediaProcessCrashed, lease: Lease, settings: Settings) -> WorkFailed:
    """Return `decoder_crashed` where this worker passes its self-test, else the crash itself.

    A worker whose library is broken crashes on every video, and no video is to blame.
    """
    try:
        run_selftest(settings, {lease.kind})
    except SelfTestFailed as error:
        _log.error("self-test failed after a crash", extra={"detail": str(error)})
        return crash
    return WorkFailed(
        FailureCode.DECODER_CRASHED, "A decoder crashes on this video.", retryable=True
    )
