"""The settings of the worker machine: the only module that reads the environment."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode, SettingsConfigDict

from idrl_common.cores import usable_cores
from idrl_common.memory import usable_renders
from idrl_common.settings import MAX_BIGINT, AppSettings, WaitS
from worker_server.fetching import EgressRules

if TYPE_CHECKING:
    from worker_server.queue.quotas import Quotas

_EXTENSION = "idrl_settings"

_DAY_S = 86_400
# Upper limit for seconds; PostgreSQL intervals cannot hold infinity.
_MAX_S = 1e9
# 4K is normalized at about the speed that it is played at, and several sources share the cores.
_PREPARED_S = 600
# Each encoder thread takes memory, and more than these save little time.
_MAX_THREADS_OF_IDLE_CORES = 4

X264Preset = Literal[
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]
Hosts = Annotated[
    frozenset[str],
    NoDecode,
    BeforeValidator(
        lambda value: value.replace(",", " ").split() if isinstance(value, str) else value
    ),
]


def _with_a_host(url: str) -> str:
    """Return the URL; raise ValueError where it has no host or an invalid port."""
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        message = (
            "it is redis://:PASSWORD@HOST:PORT/0; characters such as # / ? in the password are"
            " percent-encoded (%23 %2F %3F)"
        )
        raise PydanticCustomError("not_a_redis_url", "{sentence}", {"sentence": message})
    return url


RedisUrl = Annotated[str, AfterValidator(_with_a_host)]


class Settings(AppSettings):
    """Read once, at start; each field is the environment variable of the same name."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", pattern=r"^rediss?://")
    # CA of Redis's certificate for rediss://; default: the system's CAs.
    redis_ca: FilePath | None = None
    remote_folder: Path = Path("/usr/remote_folder")
    # Encoding happens here, on a local disk, never on the share.
    scratch_folder: Path = Path("/tmp/idrl")  # noqa: S108 # made with mode 0700, one folder a job

    part_seconds: int = Field(20, ge=1, le=600)
    logo_path: Path | None = None
    logo_seconds: float = Field(1, ge=0, le=10)
    render_engine: Literal["ffmpeg", "moviepy"] = "ffmpeg"
    render_copy: bool = True
    # Overrides of `balanced` quality; None keeps its own value.
    render_preset: X264Preset | None = None
    render_crf: int | None = Field(None, ge=0, le=51)
    render_threads: int = Field(0, ge=0, le=64)  # 0: by `encoder_threads_for`
    render_concurrency: int = Field(default_factory=usable_renders, ge=1, le=256)
    render_max_width: int = Field(1920, ge=32, le=4096)
    render_max_fps: int = Field(60, ge=1, le=120)
    render_timeout_s: WaitS = 3600
    render_stall_s: WaitS = 120
    # Address space, of which an encoder uses about a third; enough for a source of 4096 x 4096.
    render_memory_bytes: int = Field(4 * 1024**3, ge=256 * 1024**2, le=MAX_BIGINT)

    # Whether untrusted files may be decoded where the kernel offers no sandbox.
    allow_no_sandbox: bool = False

    fetch_concurrency: int = Field(4, ge=1, le=256)
    fetch_allow_hosts: Hosts = frozenset()
    fetch_deny_hosts: Hosts = frozenset()
    # Receivers of webhooks at addresses that are not public; FETCH_DENY_HOSTS holds for all.
    webhook_allow_hosts: Hosts = frozenset()
    fetch_max_bytes: int = Field(2 * 1024**3, gt=0, le=MAX_BIGINT)
    fetch_timeout_s: WaitS = 3600
    fetch_stall_s: WaitS = 30
    source_max_seconds: float = Field(4 * 3600, gt=0, le=_MAX_S)
    source_retry_s: float = Field(900, ge=0, le=_MAX_S)

    # Quotas per account; 0 is unlimited.
    quota_live_tasks: int = Field(0, ge=0, le=MAX_BIGINT)
    quota_bytes: int = Field(0, ge=0, le=MAX_BIGINT)
    quota_source_seconds_per_day: int = Field(0, ge=0, le=MAX_BIGINT)
    # How long finished tasks are kept; 0 is for ever.
    retention_days: int = Field(0, ge=0, le=36_500)
    # No work is accepted or claimed while the share has fewer free bytes than this.
    storage_reserve_bytes: int = Field(256 * 1024**2, ge=0, le=MAX_BIGINT)

    lease_s: float = Field(12, ge=2, le=_DAY_S)
    heartbeat_s: float = Field(1, ge=0.01)
    sweep_s: float = Field(3, ge=0.01, le=_DAY_S)
    max_attempts: int = Field(3, ge=1, le=100)

    @model_validator(mode="after")
    def _check_lease_exceeds_heartbeat(self) -> Self:
        if self.heartbeat_s > self.lease_s / 2:
            message = (
                f"HEARTBEAT_S ({self.heartbeat_s:g}) must be at most"
                f" half of LEASE_S ({self.lease_s:g})"
            )
            raise PydanticCustomError("settings_contradict", "{sentence}", {"sentence": message})
        return self

    @model_validator(mode="after")
    def _hosts_are_hosts(self) -> Self:
        for name in ("fetch_allow_hosts", "fetch_deny_hosts", "webhook_allow_hosts"):
            try:
                EgressRules(**{name.split("_")[1]: getattr(self, name)})
            except ValueError as error:
                message = f"{name.upper()} has an entry that it does not take: {error}"
                raise PydanticCustomError(
                    "not_a_host", "{sentence}", {"sentence": message}
                ) from None
        return self

    @property
    def quotas(self) -> "Quotas":
        """The limits of accounts that have none of their own."""
        from worker_server.queue.quotas import Quotas  # late: it imports SQLAlchemy

        return Quotas(self.quota_live_tasks, self.quota_bytes, self.quota_source_seconds_per_day)

    def prepare_timeout_s(self, duration_s: float) -> float:
        """Return how long preparing a source of this length may take.

        `render_timeout_s` applies to each ten minutes of it, or what is left of ten.
        """
        return self.render_timeout_s * max(1, math.ceil(duration_s / _PREPARED_S))

    def encoder_threads_for(self, live_parts: int) -> int:
        """Return the encoder threads of one part: RENDER_THREADS if set, else an even share.

        The cores are shared among the renders that run at once; fewer parts leave more for each.
        """
        cores = usable_cores()
        share = max(1, cores // self.render_concurrency)
        larger_share = min(cores // live_parts, _MAX_THREADS_OF_IDLE_CORES)
        return self.render_threads or max(share, larger_share)


def attach(settings: Settings) -> None:
    """Make `settings` what `current()` returns in the current app."""
    from flask import current_app  # late: checking settings needs no Flask

    current_app.extensions[_EXTENSION] = settings


def current() -> Settings:
    """Return the settings of the current app."""
    from flask import current_app

    settings: Settings = current_app.extensions[_EXTENSION]
    return settings
