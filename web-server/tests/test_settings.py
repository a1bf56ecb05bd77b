"""What the environment says, and what its example promises."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from idrl_common.settings import variables_of
from idrl_testing.env_example import variables_in
from web_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Keys

EXAMPLE = Path(__file__).parents[1] / ".env.example"
REQUIRED = {
    "POSTGRES_USER": "web",
    "POSTGRES_PASSWORD": "secret",
    "JWT_PRIVATE_KEY": "x",
    "JWT_PUBLIC_KEY": "y",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the required settings only."""
    for name in variables_of(Settings) & set(os.environ):
        monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_example_lists_exactly_what_is_read() -> None:
    compose = "".join(path.read_text() for path in EXAMPLE.parent.glob("*.yml"))
    read_by_compose = {
        *re.findall(r"(?<!\$)\$\{([A-Z_]+)", compose),
        *re.findall(r"^ +([A-Z_]+):$", compose, re.MULTILINE),
    }
    assert variables_in(EXAMPLE) == variables_of(Settings) | read_by_compose


def test_every_variable_of_the_example_is_explained() -> None:
    comment: list[str] = []
    for line in EXAMPLE.read_text().splitlines():
        if line.startswith("# "):
            comment.append(line)
            continue
        assert re.match("#?[A-Z_]+=", line)
        assert comment, f"{line} has no comment"
        assert comment[-1].endswith(".")
        comment = []
    assert not comment


def test_env_example_has_the_defaults(environment: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for line in EXAMPLE.read_text().splitlines():
        name, given, value = line.partition("=")
        if given and value and not line.startswith("#"):
            environment.setenv(name, value)
    assert Settings() == defaults


def test_a_variable_that_is_empty_is_not_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TASKS_TIMEOUT_S", "")
    assert Settings().tasks_timeout_s == 12


@pytest.mark.parametrize("name", REQUIRED)
def test_what_is_missing_is_named_without_secrets(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.delenv(name)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert name.lower() in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TASKS_URL", "tasks:5004"),
        ("TASKS_TIMEOUT_S", "0"),
        ("TASKS_TIMEOUT_S", "inf"),
        ("TASKS_CONNECT_TIMEOUT_S", "1e9"),
        ("TASKS_POOL_SIZE", "9" * 12),
        ("LOGIN_WINDOW_S", "inf"),
        ("LOGIN_FAILURES_MAX", "9" * 12),
        ("LOGIN_STRANGERS_MAX", "9" * 12),
        ("LOG_LEVEL", "loud"),
        ("POSTGRES_PORT", "x"),
        ("POSTGRES_PORT", "0"),
        ("POSTGRES_SSLMODE", "required"),
        ("OPENAPI_PATH", "/nowhere.yaml"),
        ("CLIP_CACHE_DISK", "/nowhere"),
        ("CLIP_CACHE_SIZE", "0m"),
        ("CLIP_CACHE_SIZE", "1 GB"),
        ("CLIP_CACHE_SIZE", "1g; x"),
    ],
)
def test_what_is_wrong_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_a_key_may_be_one_line(environment: pytest.MonkeyPatch, keys: Keys) -> None:
    environment.setenv("JWT_PRIVATE_KEY", keys.private.replace("\n", "\\n"))
    assert Settings().jwt_private_key == keys.private
