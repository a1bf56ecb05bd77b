import socket
from collections.abc import Iterator

import pytest
from sqlalchemy.pool import QueuePool

from idrl_common import database
from idrl_common.database import LIVENESS_EVENTS


class _Driver:
    """A connection as the pool sees it, with the server's end of its socket."""

    def __init__(self) -> None:
        self._socket, self.server = socket.socketpair()

    def fileno(self) -> int:
        return self._socket.fileno()

    def rollback(self) -> None: ...

    def close(self) -> None:
        self._socket.close()
        self.server.close()


def _use(pool: QueuePool) -> object:
    connection = pool.connect()
    driver = connection.driver_connection
    connection.close()
    return driver


@pytest.fixture
def pool() -> Iterator[QueuePool]:
    pool = QueuePool(_Driver, events=LIVENESS_EVENTS)  # type: ignore[arg-type] # no real driver
    yield pool
    pool.dispose()


def test_idle_connection_that_the_server_has_closed_is_replaced(
    pool: QueuePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_FRESH_S", 0.0)
    driver = _use(pool)
    assert isinstance(driver, _Driver)
    assert _use(pool) is driver
    driver.server.close()
    assert _use(pool) is not driver


def test_recently_used_connection_is_not_checked(
    pool: QueuePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_FRESH_S", 3600.0)
    driver = _use(pool)
    assert isinstance(driver, _Driver)
    driver.server.close()
    assert _use(pool) is driver
