"""Checks the caller's settings before anything starts, and notices when they have changed."""

import difflib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from PIL import Image
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from idrl_common.settings import variables_of
from idrl_local.config import LIMITS
from idrl_local.home import Home, HomeUnusable
from idrl_local.programs import PROGRAMS, Installation, host_of, is_passed_on
from idrl_local.progress import start_timeout_s
from web_server.settings import Settings as WebSettings
from worker_server.media.model.image_modes import is_animated
from worker_server.settings import Settings as WorkerSettings

# Settings of this package, besides those of the apps.
_OWN = {*LIMITS, "HOST", "RUN_AS", "TLS_CERT", "TLS_KEY"}
# Read by `make up` alone.
_START_VARIABLES = {"IDRL_HOME", "PORT", "START_TIMEOUT_S", "IMAGEIO_FFMPEG_EXE"}
# Similarity of two names, from 0 to 1. Variables of other programs differ more, or are shorter.
_MIN_SIMILARITY = 0.88
_SHORTEST_MISSPELLED = 6
# Checked here, as nginx would refuse it only after the stores have started.
_RATE = re.compile(r"[1-9]\d{0,8}r/[sm]")
_RATES = ("AUTH_RATE", "API_RATE")
_HIGHEST = {"AUTH_BURST": 2**31 - 1, "API_BURST": 2**31 - 1, "CONN_LIMIT": 2**16 - 1}
_ENCODERS = ("libx264", "aac")
# A home without tasks takes 60 MiB; the rest is for the log of transactions, logs and scratch.
_NEEDED_BYTES = 256 << 20
_APPS: dict[str, type[BaseSettings]] = {"web": WebSettings, "tasks": WorkerSettings}


def with_absolute_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with absolute paths: the programs run in another folder."""
    names = ("LOGO_PATH", "TLS_CERT", "TLS_KEY", "SCRATCH_FOLDER")
    paths = {
        name: str(Path(environment[name]).absolute()) for name in names if environment.get(name)
    }
    return {**environment, **paths}


def check(installation: Installation) -> None:
    """Raise HomeUnusable, with one message for each wrong setting, before anything starts."""
    host_of(installation.environment)
    start_timeout_s(installation.environment)
    wrong = [
        message
        for name, settings in _APPS.items()
        for message in _invalid(settings, _variables(installation, name))
    ]
    wrong += _invalid_limits(installation.environment)
    wrong += _full_disk(installation.home)
    wrong += _unusable_ffmpeg()
    wrong += _unusable_logo(installation.environment.get("LOGO_PATH"))
    if wrong:
        raise HomeUnusable("; ".join(dict.fromkeys(wrong)))


def misspelled(environment: Mapping[str, str]) -> list[str]:
    """Return a message for each variable whose name is almost that of a setting.

    They are not refused: another program of the caller's may have a variable of that name.
    """
    known = _names() | _START_VARIABLES
    unknown = [
        name
        for name in sorted(environment)
        if name.upper() not in known and len(name) >= _SHORTEST_MISSPELLED and is_passed_on(name)
    ]
    return [
        f"{name} is not a setting of idrl and has no effect: is {meant} meant?"
        for name in unknown
        for meant in difflib.get_close_matches(name.upper(), known, 1, _MIN_SIMILARITY)
    ]


def _names() -> set[str]:
    return _OWN.union(*(variables_of(settings) for settings in _APPS.values()))


def chosen(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the caller has chosen, by the names that the programs read."""
    return {
        name: environment[name]
        for name in sorted(_names())
        if environment.get(name) and is_passed_on(name)
    }


def store_settings(home: Home, environment: Mapping[str, str]) -> None:
    """Store the chosen settings of the system that is being started."""
    _file(home).write_text(json.dumps(chosen(environment)))


def stored_settings(home: Home) -> dict[str, str]:
    """Return the chosen settings of the system that runs, or ran last."""
    if not _file(home).exists():
        return {}
    settings: dict[str, str] = json.loads(_file(home).read_text())
    return settings


def as_started(home: Home, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the settings of the system that runs instead of its own."""
    names = _names()
    others = {name: value for name, value in environment.items() if name.upper() not in names}
    return others | stored_settings(home)


def differences(home: Home, environment: Mapping[str, str]) -> list[str]:
    """Return how the chosen settings differ from those of the running system, one line each."""
    running = stored_settings(home)
    wanted = chosen(environment)
    return [
        f"{name}={wanted.get(name, '')} (runs with {running.get(name) or 'the default'})"
        for name in sorted(running.keys() | wanted.keys())
        if running.get(name) != wanted.get(name)
    ]


def _file(home: Home) -> Path:
    return home.run / "settings.json"


def _variables(installation: Installation, program_name: str) -> dict[str, str]:
    program = next(program for program in PROGRAMS if program.name == program_name)
    return {**installation.environment, **program.environment(installation)}


def _invalid(settings: type[BaseSettings], variables: Mapping[str, str]) -> list[str]:
    """Return a message for each variable that the app would refuse."""
    names = variables_of(settings)
    values: dict[str, Any] = {
        name.lower(): variables[name] for name in names if variables.get(name)
    }
    try:
        settings(**values)
    except ValidationError as error:
        return [
            f"{str(detail['loc'][0]).upper()} is wrong: {detail['msg']}"
            if detail["loc"]
            else detail["msg"]
            for detail in error.errors(include_input=False, include_url=False)
        ]
    return []


def _invalid_limits(environment: Mapping[str, str]) -> list[str]:
    rates = [
        f"{name} is wrong: it is a number of requests such as 10r/s or 30r/m, not {value!r}"
        for name in _RATES
        if (value := environment.get(name)) and not _RATE.fullmatch(value)
    ]
    counts = [
        f"{name} is wrong: it is a whole number from 1 to {highest}, not {value!r}"
        for name, highest in _HIGHEST.items()
        if (value := environment.get(name))
        and not (value.isascii() and value.isdecimal() and 1 <= int(value) <= highest)
    ]
    return rates + counts


def _full_disk(home: Home) -> list[str]:
    free_bytes = shutil.disk_usage(home.root).free
    if free_bytes >= _NEEDED_BYTES:
        return []
    message = (
        f"{home.root} has {free_bytes >> 20} MiB of free space, and the start needs"
        f" {_NEEDED_BYTES >> 20}: make room, or set IDRL_HOME to a folder elsewhere"
    )
    return [message]


def _unusable_ffmpeg() -> list[str]:
    path = os.environ.get("IMAGEIO_FFMPEG_EXE")
    try:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-encoders"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError):
        advice = f"IMAGEIO_FFMPEG_EXE={path} is wrong" if path else "repeat `make setup`"
        return [f"ffmpeg cannot be run: {advice}"]
    missing = [name for name in _ENCODERS if name not in done.stdout.split()]
    if not missing:
        return []
    advice = f"IMAGEIO_FFMPEG_EXE={path} names" if path else "set IMAGEIO_FFMPEG_EXE to"
    return [f"ffmpeg has no encoder {' and no '.join(missing)}: {advice} another build of it"]


def _unusable_logo(path: str | None) -> list[str]:
    if not path:
        return []
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            moves = is_animated(picture)
            picture.load()
    except FileNotFoundError:
        return [f"LOGO_PATH={path}: there is no such file"]
    except PermissionError:
        return [f"LOGO_PATH={path} cannot be read by this user"]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return [f"LOGO_PATH={path} is not a picture that can be read: give a PNG, JPEG or WebP"]
    return [f"LOGO_PATH={path} is animated: give a picture that is not"] if moves else []
