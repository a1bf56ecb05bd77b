"""Runs JMeter plans against BASE_URL and evaluates the results: `load_test.py journey`, or `all`.

Everything is set by the environment (jmeter/README.md lists it). Exits with 0 where the results are
within the limits, 1 where they are not, 2 where the run was refused or JMeter did not work.
"""

import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import gate
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from idrl_local import sample

_HERE = Path(__file__).parent
_CACHE = _HERE.parent / ".cache" / "jmeter"
_PLANS = {path.stem: path for path in sorted((_HERE / "plans").glob("*.jmx"))}
# The `-J` properties of variables in the environment; each plan has its own defaults.
_PARAMETERS = (
    "users",
    "ramp_s",
    "duration_s",
    "loops",
    "think_ms",
    "poll_ms",
    "poll_max",
    "response_timeout_ms",
)
_RAMP = "breaking-point"


class Refused(Exception):
    """The run is refused; the message starts with a code."""


class Settings(BaseSettings):
    """Settings of a run, from the environment."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    base_url: str = "http://127.0.0.1:5050"
    video_url: str | None = None
    allow_remote: bool = False
    accounts: Path = _HERE / "accounts.csv"
    jmeter_home: Path | None = None
    users: int | None = Field(None, ge=1, le=1000)
    ramp_s: int | None = Field(None, ge=0, le=3600)
    duration_s: int | None = Field(None, ge=1, le=3600)
    loops: int | None = Field(None, ge=-1, le=100_000)
    think_ms: int | None = Field(None, ge=0)
    poll_ms: int | None = Field(None, ge=1)
    poll_max: int | None = Field(None, ge=1)
    response_timeout_ms: int | None = Field(None, ge=1)
    max_error_pct: float = Field(0, ge=0, le=100)
    max_p95_ms: float = Field(2000, gt=0)
    # JMeter is stopped after this time, whatever its own settings.
    limit_s: int = Field(180, ge=1)


def check_host(name: str, url: str, *, allow_remote: bool) -> None:
    """Raises Refused for an invalid address, or a remote one that is not allowed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"invalid_url: {name}={url}: {error}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise Refused(f"invalid_url: {name}={url} is no http or https address")
    if not allow_remote and not _is_loopback(host):
        raise Refused(
            f"remote_host: {name}={url} leaves this machine; ALLOW_REMOTE=1 if it is yours to load"
        )


def _check_video(settings: Settings) -> None:
    if settings.video_url:
        check_host("VIDEO_URL", settings.video_url, allow_remote=settings.allow_remote)
    elif not _is_loopback(urlsplit(settings.base_url).hostname or ""):
        raise Refused(
            "video_url_missing: what is served on loopback here, a system elsewhere cannot fetch"
        )


def _is_loopback(host: str) -> bool:
    # Names are not resolved: the address may change between the check and the run.
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main(arguments: Sequence[str]) -> int:
    """Run the named plan, or all of them; return the exit code."""
    try:
        settings = Settings()
        plans = _wanted(arguments)
        check_host("BASE_URL", settings.base_url, allow_remote=settings.allow_remote)
        _check_video(settings)
        with _video(settings) as video_url:
            return max(_run(plan, settings, video_url) for plan in plans)
    except ValidationError as error:
        wrong = [f"{str(detail['loc'][0]).upper()}: {detail['msg']}" for detail in error.errors()]
        _print(f"invalid_setting: {'; '.join(wrong)}")
    except (Refused, sample.SampleFailed) as error:
        _print(str(error))
    return 2


def _wanted(arguments: Sequence[str]) -> list[str]:
    if list(arguments) == ["all"]:
        return list(_PLANS)
    if len(arguments) == 1 and arguments[0] in _PLANS:
        return list(arguments)
    raise Refused(f"unknown_plan: PLAN is one of {', '.join(_PLANS)}, or all")


@contextmanager
def _video(settings: Settings) -> Iterator[str]:
    """Serve a short generated video where no URL is given; yields its URL."""
    if settings.video_url:
        yield settings.video_url
        return
    with TemporaryDirectory() as folder:
        video = Path(folder) / "sample.mp4"
        sample.make(video, seconds=3, width=320, height=180)
        with sample.served(video) as url:
            yield url


def _run(plan: str, settings: Settings, video_url: str) -> int:
    folder = _CACHE / plan
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _print(f"\n{plan} against {settings.base_url}")
    options = [
        *_target(settings.base_url),
        f"video_url={video_url}",
        f"accounts={settings.accounts.absolute()}",
    ]
    options += [
        f"{name}={value}" for name in _PARAMETERS if (value := getattr(settings, name)) is not None
    ]
    _jmeter(folder, _PLANS[plan], options, settings)
    return _judge(plan, folder, gate.Limits(settings.max_error_pct, settings.max_p95_ms))


def _target(base_url: str) -> list[str]:
    parts = urlsplit(base_url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return [
        f"scheme={parts.scheme}",
        f"host={parts.hostname}",
        f"port={port}",
        f"prefix={parts.path.rstrip('/')}",
    ]


def _jmeter(folder: Path, plan: Path, options: Sequence[str], settings: Settings) -> None:
    """Run a plan headless; writes results.jtl, jmeter.log and the report to the folder."""
    files = [
        "-l",
        str(folder / "results.jtl"),
        "-j",
        str(folder / "jmeter.log"),
        "-e",
        "-o",
        str(folder / "report"),
    ]
    command = [*_program(folder, settings.jmeter_home), "-n", "-t", str(plan), *files]
    command += [
        f"-J{option}" for option in [*options, "jmeter.reportgenerator.overall_granularity=1000"]
    ]
    with (folder / "output.log").open("w", encoding="utf-8") as output:
        try:
            done = subprocess.run(
                command, stdout=output, stderr=output, timeout=settings.limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Refused(
                f"jmeter_timeout: not done after {settings.limit_s} s, see {output.name}"
            ) from error
        except FileNotFoundError as error:
            raise Refused("java_missing: JMeter needs Java 8 or newer on the PATH") from error
    if done.returncode or not (folder / "results.jtl").exists():
        raise Refused(f"jmeter_failed: exit code {done.returncode}, see {output.name}")


def _program(folder: Path, home: Path | None) -> list[str]:
    """Return the command for this JMeter; the downloaded one has no start script."""
    home = home or _CACHE / "home"
    if not (home / "bin" / "ApacheJMeter.jar").exists():
        raise Refused(f"jmeter_missing: no bin/ApacheJMeter.jar in {home}")
    # Otherwise Java writes its preferences to the user's home.
    quiet = [
        f"-Djava.util.prefs.userRoot={folder}",
        f"-Duser.home={folder}",
        "-Djava.awt.headless=true",
    ]
    return ["java", "-Xmx512m", *quiet, "-jar", str(home / "bin" / "ApacheJMeter.jar")]


def _judge(plan: str, folder: Path, limits: gate.Limits) -> int:
    """Print the tables and the failures; return 1 if there are any."""
    samples = gate.read(folder / "results.jtl")
    rows = gate.by_label(samples, limits)
    missing = gate.never_called(_PLANS[plan], samples)
    _print(gate.table("call", rows))
    if plan == _RAMP and samples:
        rows = _ramp(samples, limits)
    for line in [
        *(f"never called: {name}" for name in missing),
        *gate.failures(samples, at_most=5),
    ]:
        _print(line)
    _print(f"report: {os.path.relpath(folder)}/report/index.html")
    return int(bool(missing) or not rows or any(row.over for row in rows))


def _ramp(samples: Sequence[gate.Sample], limits: gate.Limits) -> list[gate.Row]:
    """Print the table by users; return the rows that must hold (saturation later is expected)."""
    bands = gate.by_users(samples, limits)
    broken = next((band.name for band in bands if band.over), None)
    _print(gate.table("at once", bands))
    if bands:
        _print(f"broke at {broken}" if broken else f"held up to {bands[-1].name}")
    return bands[:1]


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
