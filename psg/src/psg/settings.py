"""The settings of the migrations: the only module of this package that reads the environment."""

from pydantic_settings import SettingsConfigDict

from idrl_common.settings import DatabaseSettings


class Settings(DatabaseSettings):
    """POSTGRES_USER must own the database and may create roles.

    The two passwords are those of the apps' roles.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    postgres_user: str = "postgres"
    web_db_password: str | None = None
    worker_db_password: str | None = None
