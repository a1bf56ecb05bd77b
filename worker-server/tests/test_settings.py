"""What can be set is what is documented."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from idrl_common.settings import variables_in, variables_of
from worker_server.settings import Settings

EXAMPLE = Path(__file__).parents[1] / ".env.example"
COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"
NEEDED = {"POSTGRES_USER": "worker", "POSTGRES_PASSWORD": "x", "JWT_PUBLIC_KEY": "a\\nb"}


def test_every_variable_is_in_the_example() -> None:
    assert variables_of(Settings) <= variables_in(EXAMPLE)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**NEEDED, "FETCH_ALLOW_HOSTS": "10.0.0.5, media.example", "RENDER_CONCURRENCY": "", "PART_SECONDS": "10"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.fetch_allow_hosts == {"10.0.0.5", "media.example"}
    assert settings.render_concurrency >= 1
    assert settings.part_seconds == 10
    assert settings.jwt_public_key == "a\nb"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError, match="jwt_public_key"):
        Settings()


def test_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    assert Settings(render_concurrency=2).threads_per_render == 4
    assert Settings(render_concurrency=16).threads_per_render == 1
    assert Settings(render_concurrency=2, render_threads=3).threads_per_render == 3
