"""One system for all tests of this folder that break things and leave it whole."""

from collections.abc import Iterator

import pytest

from chaos import target
from chaos.target import Target


@pytest.fixture(scope="session")
def system() -> Iterator[Target]:
    with target.running() as running:
        yield running
