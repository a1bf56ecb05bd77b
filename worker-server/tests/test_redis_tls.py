"""TLS to Redis: a real Redis behind a TLS proxy whose certificate a local authority has signed."""

import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu.exceptions import OperationalError

from worker_server import redis_client
from worker_server.app import create_app
from worker_server.settings import Settings


def _write_certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Write a certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(form.Encoding.PEM))
    pem = (form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*pem))
    return paths


class TlsProxy:
    """Takes TLS connections on loopback and passes their bytes on to a port there."""

    def __init__(self, target: int, certificate: Path, key: Path) -> None:
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with suppress(OSError), closing(raw):
            client = self._context.wrap_socket(raw, server_side=True)
            with client, socket.create_connection(("127.0.0.1", self._target)) as server:
                while True:
                    ready = (
                        [client] if client.pending() else select.select([client, server], [], [])[0]
                    )
                    for source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        (server if source is client else client).sendall(data)


@pytest.fixture
def tls_settings(settings: Settings, redis_url: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings with the proxy's address and the authority that it needs."""
    certificate, key = _write_certificate(tmp_path, "127.0.0.1")
    plain = urlsplit(redis_url)
    assert plain.port
    with closing(TlsProxy(plain.port, certificate, key)) as proxy:
        url = f"rediss://:{plain.password}@127.0.0.1:{proxy.port}/0"
        yield settings.model_copy(update={"redis_url": url, "redis_ca": certificate})


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
        update: dict[str, object] = {
            "redis_ca": _write_certificate(tmp_path / "other", "127.0.0.1")[0]
        }
    else:
        update = {"redis_url": tls_settings.redis_url.replace("127.0.0.1", "localhost")}
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
