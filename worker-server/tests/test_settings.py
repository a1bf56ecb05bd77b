"""What can be set is what is documented."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from idrl_common.settings import variables_of
from idrl_testing.env_example import variables_in
from worker_server.settings import Settings

EXAMPLE = Path(__file__).parents[1] / ".env.example"
NEEDED = {"POSTGRES_USER": "worker", "POSTGRES_PASSWORD": "x", "JWT_PUBLIC_KEY": "a\\nb"}


def test_every_variable_is_in_the_example() -> None:
    assert variables_of(Settings) <= variables_in(EXAMPLE)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        **NEEDED,
        "FETCH_ALLOW_HOSTS": "10.0.0.5, media.example",
        "RENDER_CONCURRENCY": "",
        "PART_SECONDS": "10",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.fetch_allow_hosts == {"10.0.0.5", "media.example"}
    assert settings.render_concurrency >= 1
    assert settings.part_seconds == 10
    assert settings.jwt_public_key == "a\nb"


@pytest.mark.parametrize("name", ["FETCH_ALLOW_HOSTS", "FETCH_DENY_HOSTS"])
@pytest.mark.parametrize("entry", ["10.0.0.0/40", "host:port", ":80"])
def test_what_is_no_host_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, entry: str
) -> None:
    for variable, value in {**NEEDED, name: f"example.com,{entry}"}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RENDER_PRESET", "fastest"),
        ("RENDER_PRESET", "slow\r"),
        ("RENDER_MEMORY_BYTES", "4096"),
        ("RENDER_MEMORY_BYTES", str(2**64)),
        ("LOG_LEVEL", "loud"),
        ("POSTGRES_PORT", "65536"),
        ("POSTGRES_SSLMODE", "required"),
        ("REDIS_URL", "redis:6379"),
        ("REDIS_URL", "redis://:a#b@redis:6379/0"),
        ("REDIS_URL", "redis://:1/2@redis:6379/0"),
        ("REDIS_URL", "redis://:secret@redis:port/0"),
        ("LEASE_S", "inf"),
        ("SWEEP_S", "1e-300"),
        ("SWEEP_S", "inf"),
        ("HEARTBEAT_S", "1e-300"),
        ("FETCH_TIMEOUT_S", "inf"),
        ("FETCH_STALL_S", "1e9"),
        ("RENDER_TIMEOUT_S", "inf"),
        ("RENDER_STALL_S", "1e300"),
        ("SOURCE_MAX_SECONDS", "inf"),
        ("SOURCE_RETRY_S", "inf"),
        ("FETCH_MAX_BYTES", str(2**64)),
        ("QUOTA_LIVE_TASKS", str(2**64)),
        ("QUOTA_BYTES", str(2**64)),
        ("QUOTA_SOURCE_SECONDS_PER_DAY", str(2**64)),
        ("STORAGE_RESERVE_BYTES", str(2**64)),
    ],
)
def test_value_that_would_fail_every_task_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for variable, each in {**NEEDED, name: value}.items():
        monkeypatch.setenv(variable, each)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(name.lower(),)]


def test_level_of_the_log_is_taken_as_people_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {**NEEDED, "LOG_LEVEL": "debug\r"}.items():
        monkeypatch.setenv(variable, value)
    assert Settings().log_level == "DEBUG"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError, match="jwt_public_key"):
        Settings()


def test_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_server.settings.usable_cores", lambda: 8)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)

    def threads(live_parts: int, **settings: int) -> int:
        return Settings(**settings).encoder_threads_for(live_parts)  # type: ignore[arg-type] # as text

    assert [threads(n, render_concurrency=8) for n in (1, 2, 3, 4, 5, 16)] == [4, 4, 2, 2, 1, 1]
    assert [threads(n, render_concurrency=2) for n in (1, 2, 16)] == [4, 4, 4]
    assert threads(1, render_concurrency=1) == 8
    assert threads(1, render_concurrency=16) == 4
    assert threads(16, render_concurrency=16) == 1
    assert [threads(n, render_concurrency=2, render_threads=3) for n in (1, 16)] == [3, 3]


def test_renders_at_once_are_as_many_as_the_cores_that_this_process_may_use() -> None:
    """A container or a pod on a large host has few of its cores."""
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from worker_server.settings import Settings\n"
        "from worker_server.celery_app import init_celery\n"
        "from flask import Flask\n"
        "settings = Settings(); celery = init_celery(Flask('app'), settings)\n"
        "print(settings.render_concurrency, settings.encoder_threads_for(1),"
        " celery.conf.worker_concurrency)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **NEEDED},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["1", "1", "1"]


def test_longer_sources_may_be_prepared_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    settings = Settings(render_timeout_s=100)
    lengths_s = (0, 1, 600, 600.1, 4 * 3600)
    assert [settings.prepare_timeout_s(each) for each in lengths_s] == [100, 100, 100, 200, 2400]


def test_one_core_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_server.settings.usable_cores", lambda: 1)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    assert Settings().encoder_threads_for(1) == 1


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"HEARTBEAT_S": "20"}, r"HEARTBEAT_S \(20\) must be at most half of LEASE_S \(12\)"),
        (
            {"LEASE_S": "2", "HEARTBEAT_S": "1.5"},
            r"HEARTBEAT_S \(1.5\) must be at most half of LEASE_S \(2\)",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], names: str
) -> None:
    for name, value in {**NEEDED, **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=names) as caught:
        Settings()
    assert caught.value.errors()[0]["type"] == "settings_contradict"


def test_settings_that_just_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**NEEDED, "LEASE_S": "2", "HEARTBEAT_S": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Settings().lease_s == 2
