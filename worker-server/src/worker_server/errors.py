"""Why work ends without its result: the exceptions, their codes, and whose fault each is.

A neutral module: it imports no other module of the project, so media, fetching, queue and jobs
may all use it.
"""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class FailureCode(StrEnum):
    """Every code that a task's or a part's `error` and `waiting_for` can hold.

    docs/openapi.yaml lists the same codes.
    """

    URL_INVALID = "url_invalid"
    URL_TOO_LONG = "url_too_long"
    URL_SCHEME_NOT_ALLOWED = "url_scheme_not_allowed"
    URL_CREDENTIALS_NOT_ALLOWED = "url_credentials_not_allowed"
    URL_PORT_NOT_ALLOWED = "url_port_not_allowed"
    URL_PRIVATE_ADDRESS = "url_private_address"
    URL_HOST_NOT_ALLOWED = "url_host_not_allowed"
    TOO_MANY_REDIRECTS = "too_many_redirects"

    UPLOAD_GONE = "upload_gone"
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_REFUSED = "source_refused"
    SOURCE_UNAVAILABLE = "source_unavailable"
    SOURCE_NAME_UNKNOWN = "source_name_unknown"
    SOURCE_TLS_INVALID = "source_tls_invalid"
    SOURCE_TOO_SLOW = "source_too_slow"
    SOURCE_TOO_LARGE = "source_too_large"
    SOURCE_INCOMPLETE = "source_incomplete"
    SOURCE_EMPTY = "source_empty"
    SOURCE_NOT_A_VIDEO = "source_not_a_video"
    SOURCE_IS_A_WEB_PAGE = "source_is_a_web_page"
    SOURCE_FORMAT_UNSUPPORTED = "source_format_unsupported"
    SOURCE_HAS_NO_VIDEO = "source_has_no_video"
    SOURCE_CODEC_UNSUPPORTED = "source_codec_unsupported"
    SOURCE_DAMAGED = "source_damaged"
    SOURCE_FRAME_TOO_LARGE = "source_frame_too_large"
    SOURCE_TOO_LONG = "source_too_long"
    SOURCE_LIMITS = "source_limits"
    SOURCE_PROTECTED = "source_protected"
    DECODER_CRASHED = "decoder_crashed"

    EDIT_BEYOND_END = "edit_beyond_end"
    EDIT_TOO_MANY_PARTS = "edit_too_many_parts"
    BRAND_GONE = "brand_gone"

    ENCODER_KILLED = "encoder_killed"
    ENCODER_STALLED = "encoder_stalled"
    ENCODER_TIMEOUT = "encoder_timeout"
    ENCODER_OUT_OF_MEMORY = "encoder_out_of_memory"
    ENCODER_FAILED = "encoder_failed"
    PROBE_TIMEOUT = "probe_timeout"
    CLIP_TOO_LARGE = "clip_too_large"
    CLIP_REJECTED = "clip_rejected"

    STORAGE_FULL = "storage_full"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    WORKER_LOST = "worker_lost"
    QUOTA_BYTES = "quota_bytes"
    QUOTA_SOURCE_SECONDS = "quota_source_seconds"
    CLIP_LOST = "clip_lost"
    TASK_FAILED = "task_failed"
    INTERNAL_ERROR = "internal_error"


class Fault(StrEnum):
    """Whose fault a failure is."""

    CALLER = "caller"
    SOURCE = "source"
    QUOTA = "quota"
    SHARE = "share"
    MACHINE = "machine"
    INTERNAL = "internal"


class Bound(StrEnum):
    """When work that keeps failing is not attempted again."""

    FIRST = "at the first attempt"
    SECOND = "at the second attempt"
    ATTEMPTS = "after `MAX_ATTEMPTS`"
    SOURCE_RETRY = "after `SOURCE_RETRY_S`"
    NEVER = "never"


@dataclass(frozen=True)
class Handling:
    """Whose fault it is, and when attempts end."""

    fault: Fault
    bound: Bound

    @property
    def counted(self) -> bool:
        """Whether an attempt counts towards MAX_ATTEMPTS."""
        return self.bound in (Bound.FIRST, Bound.SECOND, Bound.ATTEMPTS)


_CALLER = Handling(Fault.CALLER, Bound.FIRST)
_SOURCE = Handling(Fault.SOURCE, Bound.FIRST)
_SOURCE_UNAVAILABLE = Handling(Fault.SOURCE, Bound.SOURCE_RETRY)
_SHARE = Handling(Fault.SHARE, Bound.NEVER)
_MACHINE = Handling(Fault.MACHINE, Bound.ATTEMPTS)
# Retry once: the same input most likely fails again, as each attempt tries every renderer.
_REPEATABLE = Handling(Fault.MACHINE, Bound.SECOND)
_QUOTA = Handling(Fault.QUOTA, Bound.FIRST)
_INTERNAL = Handling(Fault.INTERNAL, Bound.NEVER)
_HANDLING = {
    FailureCode.DECODER_CRASHED: Handling(Fault.SOURCE, Bound.SECOND),
    FailureCode.SOURCE_UNAVAILABLE: _SOURCE_UNAVAILABLE,
    FailureCode.SOURCE_NAME_UNKNOWN: _SOURCE_UNAVAILABLE,
    FailureCode.SOURCE_INCOMPLETE: _SOURCE_UNAVAILABLE,
    FailureCode.SOURCE_TOO_SLOW: _SOURCE_UNAVAILABLE,
    FailureCode.STORAGE_FULL: _SHARE,
    FailureCode.STORAGE_UNAVAILABLE: _SHARE,
    FailureCode.ENCODER_KILLED: _MACHINE,
    FailureCode.ENCODER_STALLED: _MACHINE,
    FailureCode.ENCODER_TIMEOUT: _MACHINE,
    FailureCode.ENCODER_FAILED: _REPEATABLE,
    FailureCode.PROBE_TIMEOUT: _MACHINE,
    FailureCode.CLIP_REJECTED: _REPEATABLE,
    FailureCode.WORKER_LOST: _MACHINE,
    FailureCode.QUOTA_BYTES: _QUOTA,
    FailureCode.QUOTA_SOURCE_SECONDS: _QUOTA,
    FailureCode.CLIP_LOST: Handling(Fault.SHARE, Bound.FIRST),
    FailureCode.TASK_FAILED: Handling(Fault.SOURCE, Bound.FIRST),
    FailureCode.INTERNAL_ERROR: _INTERNAL,
}


def handling_of(code: FailureCode) -> Handling:
    """Return whose fault the code names, and what follows from that."""
    is_callers = (
        code.startswith(("url_", "edit_", "brand_")) or code == FailureCode.TOO_MANY_REDIRECTS
    )
    return _HANDLING.get(code, _CALLER if is_callers else _SOURCE)


# Error text in the task's row for an internal error; details are only in the log.
INTERNAL_ERROR_SENTENCE = "Something went wrong on our side."


class WorkFailed(Exception):
    """An attempt at a task or a part ended without its result.

    `message` is a sentence for people; `str()` is for the log and may say more.
    `retryable`: another attempt may succeed.
    `counted`: the attempt counts towards MAX_ATTEMPTS; by default as `handling_of` the code says.
    `retry_after_s`: no attempt before this many seconds, because the source requested it
    (Retry-After).
    """

    def __init__(
        self,
        code: FailureCode | str,
        message: str,
        *,
        retryable: bool = False,
        counted: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = FailureCode(code)
        self.message = message
        self.retryable = retryable
        self.counted = handling_of(self.code).counted if counted is None else counted
        self.retry_after_s = retry_after_s


class Stopped(Exception):
    """The work ended because `should_stop` returned true; no process of it is left."""
