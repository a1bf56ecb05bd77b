"""Certificates are checked against the name, although the connection goes to an address."""

import datetime
import ipaddress
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fetching_testing import Exchange, Fetcher, Names, OpenSite, Site

from worker_server.fetching.errors import AuthoritiesUnreadable
from worker_server.jobs.failures import failure_of

BODY = b"x" * 1000
LOOPBACK = ipaddress.ip_address("127.0.0.1")


def context_for(folder: Path, *names: x509.GeneralName, days: int = 1) -> ssl.SSLContext:
    """Write a self-signed certificate for these names to `folder`; return its context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")])
    today = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(today - datetime.timedelta(days=9))
    builder = builder.not_valid_after(today + datetime.timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(
        key, hashes.SHA256()
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@pytest.fixture
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the key and the certificate, which is its own authority."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def secure_site(open_site: OpenSite, certificates: Path) -> Site:
    """A site with a certificate for `secure.example` and 127.0.0.1."""
    context = context_for(certificates, x509.DNSName("secure.example"), x509.IPAddress(LOOPBACK))
    return open_site(tls=context)


@pytest.fixture
def fetch(fetch: Fetcher, secure_site: Site, certificates: Path) -> Fetcher:
    """A fetcher that may talk to the site and trusts its authority."""
    fetch.allow_hosts = {secure_site.address}
    fetch.ca_bundle = certificates / "ca.pem"
    return fetch


def test_https(secure_site: Site, fetch: Fetcher) -> None:
    assert fetch(secure_site.on("/v.mp4", lambda x: x.reply(BODY))).size_bytes == 1000


def test_the_certificate_is_for_the_name(secure_site: Site, fetch: Fetcher, names: Names) -> None:
    server_names: list[str | None] = []
    assert secure_site.tls
    secure_site.tls.sni_callback = lambda _connection, name, _context: server_names.append(name)
    names.answers = {
        "secure.example": [[secure_site.address]],
        "other.example": [[secure_site.address]],
    }
    secure_site.on("/v.mp4", lambda x: x.reply(BODY))
    assert fetch("https://secure.example/v.mp4").hosts == ("secure.example",)
    failure = fetch.fails("https://other.example/v.mp4?token=secret")
    assert (failure.code, failure.retryable) == ("source_tls_invalid", False)
    assert server_names == ["secure.example", "other.example"]
    assert names.resolved == ["secure.example", "other.example"]


def test_unknown_authority(secure_site: Site, fetch: Fetcher) -> None:
    fetch.ca_bundle = None
    assert (
        fetch.fails(secure_site.on("/v.mp4", lambda x: x.reply(BODY))).code == "source_tls_invalid"
    )
    assert secure_site.requests == []
    assert secure_site.accepted == 1


def test_authorities_that_cannot_be_read_are_no_fault_of_the_source(
    secure_site: Site, fetch: Fetcher, tmp_path: Path
) -> None:
    """The machine has run out of descriptors, or its operator has moved the file."""
    fetch.ca_bundle = tmp_path / "moved.pem"
    with pytest.raises(AuthoritiesUnreadable) as raised:
        fetch(secure_site.on("/v.mp4", lambda x: x.reply(BODY)))
    failure = failure_of(raised.value, tmp_path)
    assert (failure.code, failure.retryable) == ("internal_error", True)
    assert not fetch.path.exists()


def test_authorities_of_the_environment_are_ignored(
    secure_site: Site, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(fetch.ca_bundle))
    fetch.ca_bundle = None
    assert (
        fetch.fails(secure_site.on("/v.mp4", lambda x: x.reply(BODY))).code == "source_tls_invalid"
    )


def test_expired_certificate(open_site: OpenSite, fetch: Fetcher, certificates: Path) -> None:
    site = open_site(tls=context_for(certificates, x509.IPAddress(LOOPBACK), days=-1))
    fetch.allow_hosts = {site.address}
    assert fetch.fails(site.on("/v.mp4", lambda x: x.reply(BODY))).code == "source_tls_invalid"


def test_plain_http_on_the_https_port(site: Site, fetch: Fetcher) -> None:
    fetch.allow_hosts = {site.address}

    def refuses(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.recv(4096)

    site.instead = refuses
    failure = fetch.fails(site.url("/v.mp4").replace("http:", "https:"))
    assert failure.code == "source_tls_invalid"
    assert "certificate" not in failure.message


def test_tls_that_is_too_old(secure_site: Site, fetch: Fetcher) -> None:
    """The certificate is good, so the owner of the source must not look for a fault there."""
    assert secure_site.tls
    secure_site.tls.set_ciphers("AES128-SHA256:@SECLEVEL=0")
    secure_site.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    failure = fetch.fails(secure_site.url("/v.mp4"))
    assert failure.code == "source_tls_invalid"
    assert "certificate" not in failure.message


def test_redirect_from_http_to_https(site: Site, secure_site: Site, fetch: Fetcher) -> None:
    fetch.allow_hosts |= {site.address}
    url = secure_site.on("/v.mp4", lambda x: x.reply(BODY))
    assert fetch(site.on("/start", lambda x: x.reply(b"", 302, Location=url))).size_bytes == 1000


def test_no_redirect_from_https_to_http(site: Site, secure_site: Site, fetch: Fetcher) -> None:
    fetch.allow_hosts |= {site.address}
    url = site.on("/v.mp4", lambda x: x.reply(BODY))
    failure = fetch.fails(secure_site.on("/start", lambda x: x.reply(b"", 302, Location=url)))
    assert failure.code == "url_scheme_not_allowed"
    assert site.accepted == 0


def test_short_body_over_tls_is_resumed(secure_site: Site, fetch: Fetcher) -> None:
    def breaks(x: Exchange) -> None:
        x.head(Content_Length=2000, ETag='"1"')
        x.send(BODY)

    rest = lambda x: x.reply(BODY, 206, Content_Range="bytes 1000-1999/2000", ETag='"1"')
    done = fetch(secure_site.on("/v.mp4", breaks, rest))
    assert (done.size_bytes, done.resumed) == (2000, 1)


def test_stall_over_tls(secure_site: Site, fetch: Fetcher) -> None:
    def stalls(x: Exchange) -> None:
        x.head(Content_Length=2000)
        x.send(BODY)
        x.until_gone()

    began = time.monotonic()
    failure = fetch.fails(
        secure_site.on("/v.mp4", stalls), stall_s=0.3, first_byte_s=60, timeout_s=60, max_retries=0
    )
    assert failure.code == "source_too_slow"
    # The socket's own timeout is longer than first_byte_s: the watchdog shut the connection down.
    assert time.monotonic() - began < 30


def test_slow_handshake_is_waited_for(secure_site: Site, fetch: Fetcher, names: Names) -> None:
    """The limit for a connection is not that for an answer: servers may be busy."""
    assert secure_site.tls
    secure_site.tls.sni_callback = lambda *_: time.sleep(1)
    names.answers = {"secure.example": [[secure_site.address]]}
    secure_site.on("/v.mp4", lambda x: x.reply(BODY))
    done = fetch("https://secure.example/v.mp4", connect_s=0.3, max_retries=0)
    assert done.size_bytes == len(BODY)


def test_tls_handshake_without_an_answer(site: Site, fetch: Fetcher) -> None:
    """The site takes the connection, reads, and says nothing."""

    def silent(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    fetch.allow_hosts = {site.address}
    site.instead = silent
    failure = fetch.fails(
        site.url("/v.mp4").replace("http:", "https:"), first_byte_s=0.3, max_retries=0
    )
    assert failure.code == "source_too_slow"


def test_tls_handshake_that_breaks_off_is_transient(site: Site, fetch: Fetcher) -> None:
    fetch.allow_hosts = {site.address}
    site.instead = lambda connection: connection.recv(10)
    failure = fetch.fails(site.url("/v.mp4").replace("http:", "https:"))
    assert (failure.code, failure.retryable) == ("source_unavailable", True)
    assert site.accepted == 4
