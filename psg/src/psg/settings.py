"""Where the database is and who may change it: the only place in this package that reads the environment."""

from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL


class Settings(BaseSettings):
    """POSTGRES_USER must own the database and may create roles; the two passwords are those of the apps' roles."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    postgres_host: str = "127.0.0.1"
    postgres_port: int = 5432
    postgres_db: str = "idrl"
    postgres_user: str = "postgres"
    postgres_password: str
    postgres_sslmode: str = "prefer"
    web_db_password: str | None = None
    worker_db_password: str | None = None

    @property
    def url(self) -> URL:
        return URL.create(
            "postgresql+psycopg2",
            username=self.postgres_user,
            password=self.postgres_password,
            host=self.postgres_host,
            port=self.postgres_port,
            database=self.postgres_db,
            query={"sslmode": self.postgres_sslmode, "connect_timeout": "5"},
        )
