"""Settings that several programs read under the same names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from sqlalchemy import URL

# A key in an .env file is one line, its line breaks written as \n.
Pem = Annotated[
    str,
    BeforeValidator(lambda value: value.replace("\\n", "\n") if isinstance(value, str) else value),
]
# A wait in seconds. A socket takes no more than 2**31 milliseconds, and refuses infinity.
WaitS = Annotated[float, Field(gt=0, le=2_000_000)]
# Largest value of BIGINT columns, rlimits and file sizes.
MAX_BIGINT = 2**63 - 1
MAX_INT = 2**31 - 1


def _level(value: object) -> object:
    """Return the level in capitals; raise where logging has none of this name."""
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "WARN", "FATAL", "NOTSET")
    name = value.strip().upper() if isinstance(value, str) else value
    if name not in levels:
        message = "it is DEBUG, INFO, WARNING, ERROR or CRITICAL"
        raise PydanticCustomError("not_a_level", "{sentence}", {"sentence": message})
    return name


LogLevel = Annotated[str, BeforeValidator(_level)]
# Limit of JSON bodies; /auth has a lower one.
MAX_BODY_BYTES = 16 * 1024
# Limit for a task, whose edit may have 500 named segments.
MAX_TASK_BODY_BYTES = 256 * 1024
# Limit for a batch: 500 items with the largest `metadata`, URL and name.
MAX_BATCH_BODY_BYTES = 4 * 1024 * 1024


class DatabaseSettings(BaseSettings):
    """Address and role of the PostgreSQL database."""

    # A validation error at start must not print secrets.
    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    postgres_host: str = "127.0.0.1"
    postgres_port: int = Field(5432, ge=1, le=65535)
    postgres_db: str = "idrl"
    postgres_user: str
    postgres_password: str
    postgres_sslmode: Literal[
        "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
    ] = "prefer"

    @property
    def database_url(self) -> "URL":
        """The URL for SQLAlchemy; gives up connecting after 5 s, a dead connection after 25 s."""
        from sqlalchemy import URL  # imported late: checking settings needs no SQLAlchemy

        return URL.create(
            "postgresql+psycopg2",
            username=self.postgres_user,
            password=self.postgres_password,
            host=self.postgres_host,
            port=self.postgres_port,
            database=self.postgres_db,
            query={
                "sslmode": self.postgres_sslmode,
                "connect_timeout": "5",
                "keepalives_idle": "10",
                "keepalives_interval": "5",
                "keepalives_count": "3",
                # TCP sends no keepalive probes while sent data is unacknowledged, and
                # statement_timeout runs on the server, out of reach then.
                "tcp_user_timeout": "15000",
            },
        )


class AppSettings(DatabaseSettings):
    """What every process needs: the database, the key that proves tokens, how much to log."""

    jwt_public_key: Pem
    log_level: LogLevel = "INFO"
    revision: str = "unknown"
    # Locked pid files (NAME.lock) of the installation's processes, for /ready and /metrics.
    process_folder: Path | None = None

    @property
    def database_url(self) -> "URL":
        """The URL of DatabaseSettings, with a limit of 10 s for each statement.

        Without JIT, whose compilation takes seconds where a large table makes a plan costly; in
        UTC, as a day of an interval has 23 or 25 hours when the zone's clocks change.
        """
        limits = "-c statement_timeout=10s -c idle_in_transaction_session_timeout=30s"
        options = f"{limits} -c jit=off -c timezone=UTC"
        return super().database_url.update_query_dict({"options": options})


def variables_of(settings: type[BaseSettings]) -> set[str]:
    """Return the names of the environment variables that this class reads."""
    return {name.upper() for name in settings.model_fields}
