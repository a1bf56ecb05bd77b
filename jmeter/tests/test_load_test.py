"""Refusals before any request is sent."""

import re
from pathlib import Path

import load_test
import pytest

_JMETER = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set only a home without JMeter, so that no request is ever sent."""
    for name in ("BASE_URL", "VIDEO_URL", "ALLOW_REMOTE", "USERS", "LOOPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JMETER_HOME", str(tmp_path))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the code of the refusal."""
    assert load_test.main(arguments) == 2
    return capsys.readouterr().out.strip().split("\n")[-1].partition(":")[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.1@example.com",
        "http://127.0.0.1.example.com:5050",
        "http://localhost.example.com",
        "http://0.0.0.0:5050",
        "http://10.0.0.1",
        "http://[2001:db8::1]",
        "https://2130706433",
    ],
)
def test_other_hosts_are_refused(url: str) -> None:
    with pytest.raises(load_test.Refused, match=r"^remote_host: "):
        load_test.check_host("BASE_URL", url, allow_remote=False)
    load_test.check_host("BASE_URL", url, allow_remote=True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5050", "http://127.9.9.9", "http://[::1]:5050", "https://LOCALHOST/x"]
)
def test_loopback_is_accepted(url: str) -> None:
    load_test.check_host("BASE_URL", url, allow_remote=False)


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://127.0.0.1", "http://", "http://[::1", "http://127.0.0.1:99999"],
)
def test_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(load_test.Refused, match=r"^invalid_url: "):
        load_test.check_host("BASE_URL", url, allow_remote=True)


@pytest.mark.parametrize("name", ["BASE_URL", "VIDEO_URL"])
def test_a_run_against_another_host_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "http://example.com/")
    assert refusal(capsys, "journey") == "remote_host"


def test_remote_system_needs_a_video_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BASE_URL", "http://192.0.2.1")
    monkeypatch.setenv("ALLOW_REMOTE", "1")
    assert refusal(capsys, "journey") == "video_url_missing"


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["journey", "submit"], ["../journey"]])
def test_unknown_plan_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, *arguments) == "unknown_plan"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USERS", "0"),
        ("USERS", "many"),
        ("LOOPS", "-2"),
        ("MAX_P95_MS", "0"),
        ("ALLOW_REMOTE", "?"),
    ],
)
def test_invalid_settings_are_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert load_test.main(["journey"]) == 2
    assert capsys.readouterr().out.startswith(f"invalid_setting: {name}: ")


def test_home_without_jmeter_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load_test, "_CACHE", tmp_path)
    monkeypatch.setenv("VIDEO_URL", "http://127.0.0.1:9/video")
    assert refusal(capsys, "journey") == "jmeter_missing"


def test_every_plan_and_parameter_is_documented() -> None:
    readme = (_JMETER / "README.md").read_text(encoding="utf-8")
    plans = list((_JMETER / "plans").glob("*.jmx"))
    required = {
        name
        for plan in plans
        for name in re.findall(r"\$\{__P\((\w+)[,)]", plan.read_text(encoding="utf-8"))
    }
    undocumented = [
        name for name in required | {plan.stem for plan in plans} if f"`{name}`" not in readme
    ]
    assert len(plans) == 5
    assert undocumented == []


def test_every_setting_is_documented() -> None:
    readme = (_JMETER / "README.md").read_text(encoding="utf-8")
    assert [
        name for name in load_test.Settings.model_fields if f"`{name.upper()}`" not in readme
    ] == []
