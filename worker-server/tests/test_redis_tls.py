"""TLS to Redis: a real Redis behind the worker machine's TLS, with a local authority."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kombu.exceptions import OperationalError

from idrl_testing import tls
from worker_server import redis_client
from worker_server.app import create_app
from worker_server.settings import Settings


@pytest.fixture
def tls_settings(settings: Settings, redis_url: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings with the address of Redis with TLS, and the authority that it needs."""
    certificate = tls.write_certificate(tmp_path)
    plain = urlsplit(redis_url)
    assert plain.port
    with tls.worker_machine(tmp_path, certificate, redis=plain.port) as ports:
        url = f"rediss://:{plain.password}@localhost:{ports.redis}/0"
        yield settings.model_copy(update={"redis_url": url, "redis_ca": certificate[0]})


@pytest.mark.usefixtures("long_status_timeouts")
def test_wake_ups_and_readiness_use_tls(tls_settings: Settings) -> None:
    with closing(redis_client.connect(tls_settings, timeout_s=5)) as client:
        assert client.ping()
    app = create_app(tls_settings)
    with app.extensions["celery"].connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        assert connection.connected
    assert app.test_client().get("/ready").get_json()["checks"]["redis"] == {"ok": True}


@pytest.mark.parametrize("kind", ["another authority", "another name"])
def test_redis_that_does_not_prove_itself_is_refused(
    tls_settings: Settings, tmp_path: Path, kind: str
) -> None:
    if kind == "another authority":
        (tmp_path / "other").mkdir()
        update: dict[str, object] = {"redis_ca": tls.write_certificate(tmp_path / "other")[0]}
    else:
        update = {"redis_url": tls_settings.redis_url.replace("localhost", "127.0.0.1")}
    refused = tls_settings.model_copy(update=update)
    with (
        closing(redis_client.connect(refused, timeout_s=5)) as client,
        pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.ping()
    with (
        create_app(refused).extensions["celery"].connection_for_write() as connection,
        pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_no_tls_without_rediss(settings: Settings) -> None:
    assert redis_client.tls_options(settings) == {}
    assert create_app(settings).extensions["celery"].conf.broker_use_ssl is None
