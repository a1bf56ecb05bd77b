"""What the demo is to make clips of, checked before a system is started for it."""

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import av
import requests

from idrl_local.home import HomeUnusable

# Slower sites are left to the system, which has more patience.
_TIMEOUT_S = 2
_TIMEOUTS = (requests.Timeout, TimeoutError)


@dataclass(frozen=True)
class DemoOptions:
    """A file, a link or, with neither, a sample; `at` is a running system, else our own."""

    video: str | None = None
    url: str | None = None
    at: str | None = None

    def check(self, environment: Mapping[str, str]) -> None:
        """Raise HomeUnusable for errors that show before anything starts."""
        if self.at and not self.url:
            raise HomeUnusable(
                "a system elsewhere cannot reach a file of this machine:"
                " give it a link, --url or URL=…"
            )
        if self.url and self.video:
            raise HomeUnusable("VIDEO=… and URL=… are two sources: give one of them")
        if self.url:
            check_url(self.url, environment, is_fetched_here=not self.at)
        if self.video:
            check_video(Path(self.video))
        if self.at:
            _check_ready(self.at)


def _check_ready(at: str) -> None:
    try:
        answer = requests.get(f"{at.rstrip('/')}/ready", timeout=_TIMEOUT_S)
    except (requests.RequestException, ValueError) as error:
        raise HomeUnusable(f"no system answers at AT={at}") from error
    if answer.status_code != HTTPStatus.OK:
        raise HomeUnusable(f"the system at AT={at} is not ready: it answers {answer.status_code}")


def check_video(path: Path) -> None:
    """Raise HomeUnusable unless the file is one that holds a video."""
    if path.is_dir():
        raise HomeUnusable(f"VIDEO={path} is a folder, not a video")
    if not path.exists():
        raise HomeUnusable(f"VIDEO={path}: there is no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise HomeUnusable(f"VIDEO={path} is empty: copy or download it again")
    try:
        with av.open(path, metadata_errors="replace") as container:
            has_video = bool(container.streams.video)
    except PermissionError as error:
        raise HomeUnusable(f"VIDEO={path} cannot be read: permission denied") from error
    except (OSError, ValueError, av.FFmpegError):
        has_video = False
    if not has_video:
        raise HomeUnusable(f"VIDEO={path} is not a video")


def check_url(url: str, environment: Mapping[str, str], *, is_fetched_here: bool) -> None:
    """Raise HomeUnusable for a link that no system can fetch, as far as two seconds tell.

    With `is_fetched_here` the site is asked too: a system elsewhere may reach other sites.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise HomeUnusable(f"URL={url} is not a link: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise HomeUnusable(f"URL={url} is not a link that begins with http:// or https://")
    if is_fetched_here:
        _check_host(url, host, port, environment)
        _check_answer(url)


def _check_host(url: str, host: str, port: int, environment: Mapping[str, str]) -> None:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HomeUnusable(f"URL={url}: the name {host} leads to no address") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries]
    allowed = environment.get("FETCH_ALLOW_HOSTS", "").replace(",", " ").split()
    if not allowed and not any(address.is_global for address in addresses):
        raise HomeUnusable(
            f"URL={url} leads to a private address ({addresses[0]});"
            f" FETCH_ALLOW_HOSTS={host} allows that"
        )


def _check_answer(url: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(url, stream=True, timeout=_TIMEOUT_S)
        except _TIMEOUTS:
            return
        except requests.RequestException as error:
            raise HomeUnusable(f"URL={url} cannot be reached: {_reason(error)}") from error
        with answer:
            if 400 <= answer.status_code < 500 and answer.status_code not in (408, 425, 429):
                raise HomeUnusable(f"URL={url} answers {answer.status_code} {answer.reason}")
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise HomeUnusable(f"URL={url} is a web page, not a video file")


def _reason(error: requests.RequestException) -> str:
    """Return the operating system's words, below urllib3's wrappers, else the error's kind."""
    match = re.search(r"\[Errno -?\d+\] ([\w ]+)", str(error))
    return match[1].lower() if match else type(error).__name__
