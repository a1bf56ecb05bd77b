"""What can go wrong between a source and its clips."""

from worker_server.errors import INTERNAL_ERROR_SENTENCE, FailureCode, Stopped, WorkFailed

__all__ = [
    "ClipRejected",
    "EditError",
    "EncodeFailed",
    "MediaError",
    "RendererDeclined",
    "SourceError",
    "Stopped",
]


class MediaError(WorkFailed):
    """A source or a clip failed; `code` is stable, `message` is for people."""


class SourceError(MediaError):
    """The source cannot become clips, however often it is tried.

    Codes: `source_not_a_video`, `source_is_a_web_page`, `source_format_unsupported`,
    `source_has_no_video`, `source_codec_unsupported`, `source_damaged`,
    `source_frame_too_large`, `source_too_long`, `source_limits`, `source_protected`.
    """


class EditError(MediaError):
    """The edit asks for what the source does not have.

    Codes: `edit_beyond_end`, `edit_too_many_parts`.
    """


class EncodeFailed(MediaError):
    """An encoder, or another process that reads the source, ended without its result.

    `retryable` says whether another attempt can help. `str()` adds the end of standard error, which
    names the system's files and is for the log only.

    Codes: `encoder_killed`, `encoder_stalled`, `encoder_timeout`, `encoder_out_of_memory`,
    `encoder_failed`, `clip_too_large`, `probe_timeout`, `storage_full`, `source_damaged`.
    """

    def __init__(
        self, code: FailureCode | str, message: str, *, retryable: bool, stderr_tail: str = ""
    ) -> None:
        super().__init__(code, message, retryable=retryable)
        self.stderr_tail = stderr_tail

    def __str__(self) -> str:
        return f"{self.message} {self.stderr_tail}".strip()


class RendererDeclined(EncodeFailed):
    """On reading the stream this renderer found that it cannot make the clip; the next is tried."""

    def __init__(self, stderr_tail: str) -> None:
        super().__init__(
            FailureCode.ENCODER_FAILED,
            "This renderer cannot make the clip.",
            retryable=False,
            stderr_tail=stderr_tail,
        )


class MediaProcessCrashed(MediaError):
    """A child process crashed or did not start: a fault of the system, or of this video alone.

    The code is `internal_error`; the job replaces it by `decoder_crashed` where the worker's
    self-test passes. `str()` has the end of the child's standard error, for the log.
    """

    def __init__(self, child: str, detail: str) -> None:
        super().__init__(FailureCode.INTERNAL_ERROR, INTERNAL_ERROR_SENTENCE, retryable=True)
        self.child = child
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.child}: {self.detail}"


class ClipRejected(MediaError):
    """Verification rejected a file the encoder reported as good.

    `differences` is for the log.
    """

    def __init__(self, differences: str) -> None:
        super().__init__(
            FailureCode.CLIP_REJECTED,
            "The encoder's output failed verification.",
            retryable=True,
        )
        self.differences = differences

    def __str__(self) -> str:
        return self.differences
