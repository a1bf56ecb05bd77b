"""The site, the fetcher and the resolver of the tests of downloads."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fetching_testing import Fetcher, Names, OpenSite, Site


@pytest.fixture
def site() -> Iterator[Site]:
    """The site that sources are downloaded from."""
    with contextlib.closing(Site()) as running:
        yield running


@pytest.fixture
def other_site() -> Iterator[Site]:
    """A second one, which tests do not allow: nothing may ever connect to it."""
    with contextlib.closing(Site()) as running:
        yield running


@pytest.fixture
def open_site() -> Iterator[OpenSite]:
    """Open further sites."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(contextlib.closing(Site(**options)))


@pytest.fixture
def fetch(site: Site, tmp_path: Path) -> Fetcher:
    """A fetcher that may talk to the site."""
    return Fetcher(tmp_path / "source", {site.address})


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The resolver's table; literal addresses still go to the real resolver."""
    table = Names()
    real = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **options: Any) -> list[Any]:  # noqa: ANN401 # those of getaddrinfo
        if host not in table.answers:
            return real(host, port, *args, **{**options, "flags": socket.AI_NUMERICHOST})
        table.resolved.append(host)
        answers = table.answers[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        addresses = answer() if callable(answer) else answer
        return [entry for address in addresses for entry in _entries(real, address, port)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return table


def _entries(real: Callable[..., list[Any]], address: str, port: int) -> list[Any]:
    if address.count(":") == 1:
        address, _, given = address.partition(":")
        port = int(given)
    return real(address, port, type=socket.SOCK_STREAM)
