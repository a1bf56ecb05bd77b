"""The documents of the API. Written by `make client-models` from docs/openapi.yaml."""

from typing import Any, Literal, NotRequired, TypedDict


class Segment(TypedDict):
    """The schema Segment of the contract."""

    start_s: float
    end_s: float
    name: str | None


class Edit(TypedDict):
    """The schema Edit of the contract."""

    part_seconds: float
    start_s: float | None
    end_s: float | None
    segments: list[Segment] | None
    cut: Literal["exact", "keyframe", "silence", "scene"]
    aspect: Literal["16:9", "9:16", "1:1", "4:5", "source"]
    fit: Literal["crop", "pad", "blur"]
    quality: Literal["fast", "balanced", "small"]
    brand_id: str | None


class Failure(TypedDict):
    """The schema Failure of the contract."""

    code: str
    message: str


class Source(TypedDict):
    """The schema Source of the contract."""

    size_bytes: int
    duration_s: float
    width: int
    height: int
    frame_rate: float
    video_codec: str
    audio_codec: str | None


class Part(TypedDict):
    """The schema Part of the contract."""

    number: int
    segment: int | None
    name: str | None
    status: Literal["waiting", "rendering", "done", "failed"]
    progress: int
    start_s: float
    end_s: float
    attempt: int
    size_bytes: int | None
    sha256: str | None
    frames: int | None
    rendered_by: Literal["copy", "encode"] | None
    concealed_frames: int | None
    link: str
    error: Failure | None


class TaskWithParts(TypedDict):
    """The schema TaskWithParts of the contract."""

    task_id: str
    url: str
    name: str
    external_id: str | None
    metadata: dict[str, Any] | None
    callback_url: str | None
    edit: Edit | None
    status: Literal[
        "queued", "downloading", "planned", "processing", "done", "failed", "canceling", "canceled"
    ]
    progress: int
    eta_s: float | None
    error: Failure | None
    waiting_for: str | None
    waiting_until: str | None
    attempt: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str
    source: Source | None
    parts_total: int | None
    parts_done: int
    canceled_in_ms: int | None
    freed_bytes: int | None
    start: Literal["auto", "manual"]
    keep: bool
    expires_at: str | None
    expires_soon: bool
    link: str
    parts: list[Part]


class Task(TypedDict):
    """The schema Task of the contract."""

    task_id: str
    url: str
    name: str
    external_id: str | None
    metadata: dict[str, Any] | None
    callback_url: str | None
    edit: NotRequired[Edit | None]
    status: Literal[
        "queued", "downloading", "planned", "processing", "done", "failed", "canceling", "canceled"
    ]
    progress: int
    eta_s: float | None
    error: Failure | None
    waiting_for: str | None
    waiting_until: str | None
    attempt: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str
    source: Source | None
    parts_total: int | None
    parts_done: int
    canceled_in_ms: int | None
    freed_bytes: int | None
    start: Literal["auto", "manual"]
    keep: bool
    expires_at: str | None
    expires_soon: bool
    link: str


class NewSegment(TypedDict):
    """The schema NewSegment of the contract."""

    start_s: float
    end_s: float
    name: NotRequired[str | None]


class NewEdit(TypedDict):
    """The schema NewEdit of the contract."""

    part_seconds: NotRequired[float | None]
    start_s: NotRequired[float | None]
    end_s: NotRequired[float | None]
    segments: NotRequired[list[NewSegment] | None]
    cut: NotRequired[Literal["exact", "keyframe", "silence", "scene"]]
    aspect: NotRequired[Literal["16:9", "9:16", "1:1", "4:5", "source"]]
    fit: NotRequired[Literal["crop", "pad", "blur"]]
    quality: NotRequired[Literal["fast", "balanced", "small"]]
    brand_id: NotRequired[str | None]


class NewTask(TypedDict):
    """The schema NewTask of the contract."""

    url: str
    name: NotRequired[str | None]
    external_id: NotRequired[str | None]
    metadata: NotRequired[dict[str, Any] | None]
    start: NotRequired[Literal["auto", "manual"]]
    edit: NotRequired[NewEdit | None]
    callback_url: NotRequired[str | None]


class Deleted(TypedDict):
    """The schema Deleted of the contract."""

    task_id: str
    status: Literal["canceled", "deleted"]


class Canceling(TypedDict):
    """The schema Canceling of the contract."""

    task_id: str
    status: Literal["canceling"]


class Usage(TypedDict):
    """The schema Usage of the contract."""

    live_tasks: int
    live_tasks_limit: int | None
    clips_bytes: int
    uploads_bytes: int
    sources_bytes: int
    brands_bytes: int
    clips_bytes_limit: int | None
    source_s_today: float
    source_s_today_limit: int | None
    today_ends_in_s: int
    rendered_s_this_month: float


class Account(TypedDict):
    """The schema Account of the contract."""

    user_id: int
    username: str
    email: str
    role: Literal["user", "operator"]
    created_at: str
    sample_url: NotRequired[str | None]


class KeyWithSecret(TypedDict):
    """The schema KeyWithSecret of the contract."""

    key_id: str
    name: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    key: str


class Token(TypedDict):
    """The schema Token of the contract."""

    token: str
    token_type: Literal["Bearer"]
    expires_in: int


class Bumper(TypedDict):
    """The schema Bumper of the contract."""

    kind: Literal["image", "video"]
    duration_s: float
    width: int
    height: int


class Watermark(TypedDict):
    """The schema Watermark of the contract."""

    width: int
    height: int
    place: Literal[
        "top-left",
        "top",
        "top-right",
        "left",
        "center",
        "right",
        "bottom-left",
        "bottom",
        "bottom-right",
    ]
    width_share: float
    opacity: float


class Brand(TypedDict):
    """The schema Brand of the contract."""

    brand_id: str
    name: str
    before: Bumper | None
    after: Bumper | None
    watermark: Watermark | None
    background: str
    size_bytes: int
    created_at: str
    link: str


class DefaultBrand(TypedDict):
    """The schema DefaultBrand of the contract."""

    brand_id: str


class FieldError(TypedDict):
    """The schema FieldError of the contract."""

    field: str
    code: str
    message: str


class Problem(TypedDict):
    """The schema Problem of the contract."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: NotRequired[list[FieldError]]
