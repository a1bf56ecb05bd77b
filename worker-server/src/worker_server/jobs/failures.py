"""Whose fault a job's exception is: the source's, the share's, or this machine's."""

import errno
import logging
import os
from pathlib import Path

from worker_server import storage
from worker_server.errors import (
    INTERNAL_ERROR_SENTENCE,
    FailureCode,
    Fault,
    WorkFailed,
    handling_of,
)
from worker_server.jobs.crashes import classify_crash
from worker_server.media import MediaProcessCrashed
from worker_server.queue import clock_changes
from worker_server.queue.claims import Lease, PartLease
from worker_server.settings import Settings

_log = logging.getLogger(__name__)

# Resources that this machine has run out of.
_EXHAUSTED = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
# A clock that is wrong by more may take a good certificate for one that has expired.
_CLOCK_TOLERANCE_S = 600.0


def classify_failure(error: Exception, lease: Lease, settings: Settings) -> WorkFailed:
    """Return the failure for the row.

    After a crash of a child the self-test decides. A child that met an unusable share fails with an
    error of its own, so whatever fails meanwhile is blamed on the share.
    """
    if isinstance(error, MediaProcessCrashed):
        failure = classify_crash(error, lease, settings)
    else:
        failure = failure_of(error, settings.remote_folder)
    if handling_of(failure.code).fault in (Fault.CALLER, Fault.QUOTA):
        return failure
    if failure.code == FailureCode.SOURCE_TLS_INVALID and _clock_is_wrong():
        return _internal_failure()
    try:
        storage.check_usable(settings.remote_folder, 0)
    except storage.ShareUnusable as unusable:
        return _share_failure(unusable.code)
    return _scratch_failure(failure, lease, settings)


def failure_of(error: Exception, share: Path) -> WorkFailed:
    """Return what the row says of the exception, and whether another attempt may help."""
    if isinstance(error, WorkFailed):
        return error
    if not isinstance(error, OSError) or _is_of_this_machine(error, share):
        return _internal_failure()
    if error.errno in storage.NO_SPACE:
        return _share_failure(FailureCode.STORAGE_FULL)
    return _share_failure(FailureCode.STORAGE_UNAVAILABLE)


def _is_of_this_machine(error: OSError, share: Path) -> bool:
    """Return whether a local file or resource failed, as a scratch folder that cannot be written.

    An error without a path comes from an open file, and those that a job writes are on the share.
    """
    if error.errno in _EXHAUSTED:
        return True
    if not isinstance(error.filename, str | os.PathLike):
        return False
    return not Path(error.filename).absolute().is_relative_to(share.absolute())


def _clock_is_wrong() -> bool:
    """Return whether this machine's clock is too wrong to judge certificates by it."""
    ahead_s = clock_changes.machine_ahead_s()
    is_wrong = abs(ahead_s) > _CLOCK_TOLERANCE_S
    if is_wrong:
        _log.error("this machine's clock is wrong", extra={"ahead_s": round(ahead_s)})
    return is_wrong


def _scratch_failure(failure: WorkFailed, lease: Lease, settings: Settings) -> WorkFailed:
    """Return the failure; an internal one if a clip found no space while the share has some.

    Clips are encoded on this machine's disk, so that is the one that is full.
    """
    if failure.code != FailureCode.STORAGE_FULL or not isinstance(lease, PartLease):
        return failure
    try:
        storage.check_usable(settings.remote_folder, settings.storage_reserve_bytes)
    except storage.ShareUnusable:
        return failure
    return _internal_failure()


def _internal_failure() -> WorkFailed:
    return WorkFailed(FailureCode.INTERNAL_ERROR, INTERNAL_ERROR_SENTENCE, retryable=True)


def _share_failure(code: FailureCode) -> WorkFailed:
    messages = {
        FailureCode.STORAGE_FULL: "There is no space left on the storage.",
        FailureCode.STORAGE_UNAVAILABLE: "The storage cannot be used at the moment.",
    }
    return WorkFailed(code, messages[code], retryable=True)
