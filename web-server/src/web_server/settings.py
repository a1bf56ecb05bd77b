"""The settings of the web app: the only module that reads the environment."""

from pathlib import Path
from typing import Literal

from pydantic import DirectoryPath, Field, FilePath, HttpUrl
from pydantic_settings import SettingsConfigDict

from idrl_common.settings import MAX_INT, AppSettings, Pem, WaitS

_CHECKOUT = Path(__file__).parents[3]


class Settings(AppSettings):
    """Read once, at start; each field is the environment variable of the same name."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    jwt_private_key: Pem
    tasks_url: HttpUrl = HttpUrl("http://127.0.0.1:5004")
    # PEM file of the CA of the tasks service's certificate, for https; unset: the system's CAs.
    tasks_ca: FilePath | None = None
    tasks_connect_timeout_s: WaitS = 2
    tasks_timeout_s: WaitS = 12
    # Connections that are kept open; more than these are made when needed, and closed after use.
    tasks_pool_size: int = Field(32, ge=1, le=10_000)
    accel_redirect: bool = False
    # Who may sign up: everyone, holders of an invitation, or only accounts that operators make.
    signup: Literal["open", "invite", "closed"] = "open"
    login_failures_max: int = Field(10, ge=1, le=MAX_INT)
    login_strangers_max: int = Field(50, ge=1, le=MAX_INT)
    login_window_s: float = Field(900, gt=0, le=MAX_INT)
    # In nginx's notation for sizes; nginx gets the same value.
    clip_cache_size: str = Field("1g", pattern=r"^(0|[1-9][0-9]{0,9}[kmgKMG]?)$")
    clip_cache_disk: DirectoryPath = Path("/")
    # A video that the page offers to try the system with.
    sample_url: HttpUrl | None = None
    openapi_path: FilePath = _CHECKOUT / "docs" / "openapi.yaml"
