"""The certificate that nginx shows: the files that TLS_CERT and TLS_KEY name."""

import os
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from idrl_local import servers
from idrl_local.home import Home, HomeUnusable

CERTIFICATE = "tls-certificate.pem"
KEY = "tls-key.pem"


def install(environment: Mapping[str, str], folder: Path) -> None:
    """Copy both files to where nginx can read them; raise HomeUnusable for unusable ones."""
    certificate, key = environment.get("TLS_CERT"), environment.get("TLS_KEY")
    if not certificate and not key:
        return
    if not certificate or not key:
        raise HomeUnusable("TLS_CERT and TLS_KEY belong together: set both or none of them")
    _check(certificate, key)
    copies = {folder / CERTIFICATE: certificate, folder / KEY: key}
    # Both are complete before one is replaced: the disk may be full.
    new = {_copy(Path(source), target): target for target, source in copies.items()}
    for copy, target in new.items():
        copy.replace(target)


def _copy(source: Path, target: Path) -> Path:
    """Write a copy for nginx's user beside the target, and return its path."""
    copy = target.with_suffix(".new")
    copy.unlink(missing_ok=True)
    # O_EXCL: nginx's user owns the folder and could place a symbolic link there.
    with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(source.read_bytes())
        servers.chown_to_nobody(file.fileno())
    return copy


def renewed(
    home: Home, running: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return TLS_CERT and TLS_KEY: those of the running system, or those that the caller names.

    Raises HomeUnusable where there are none, or where the system has only copies of them.
    """
    names = ("TLS_CERT", "TLS_KEY")
    if not running.get("TLS_CERT"):
        raise HomeUnusable(
            "the system runs without TLS: `make down`, then `make up TLS_CERT=… TLS_KEY=…`"
        )
    copies = [name for name in names if Path(running[name]).parent == home.root / "copies"]
    if any(not environment.get(name) for name in copies):
        raise HomeUnusable(
            "name the files again, of which the system has copies:"
            " make reload SERVICE=nginx TLS_CERT=… TLS_KEY=…"
        )
    return {name: str(Path(environment.get(name) or running[name]).absolute()) for name in names}


def _check(certificate: str, key: str) -> None:
    for name, path in (("TLS_CERT", certificate), ("TLS_KEY", key)):
        if not os.access(path, os.R_OK) or not Path(path).is_file():
            raise HomeUnusable(f"{name} names {path}, which is not a readable file")
    try:
        # An empty password instead of a prompt for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise HomeUnusable(
            f"{certificate} and {key} are not a certificate and its key,"
            " in PEM and without a password"
        ) from None


def warnings(certificate: Path) -> Iterator[str]:
    """Yield why others may refuse a certificate that nginx takes."""
    is_valid, state = state_of(certificate)
    if not is_valid:
        yield f"the certificate in {certificate} is {state}: browsers and clients refuse it"
    if issuer := _missing_issuer(certificate):
        yield (
            f"{certificate} does not have the certificate of {issuer}, which signed the last one in"
            " it, and which is no public authority: clients that lack it refuse the connection;"
            " append the intermediate certificates"
        )


def _missing_issuer(certificate: Path) -> str | None:
    """Return the name of the issuer of the chain's last certificate where clients may lack it.

    None where the chain ends with a root, or with a certificate that a public root has signed.
    """
    from cryptography import x509  # imported late: every process loads this module
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    last = x509.load_pem_x509_certificates(certificate.read_bytes())[-1]
    context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
    # Some roots are too old for cryptography to read. Each has its own name in it.
    name = last.issuer.public_bytes()
    if last.issuer == last.subject or any(name in root for root in context.get_ca_certs(True)):
        return None
    return last.issuer.rfc4514_string()


def now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


def state_of(certificate: Path) -> tuple[bool, str]:
    """Return whether the certificate is valid now, and until or since when, for people."""
    from cryptography import x509  # imported late: every process loads this module

    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    begin, end = read.not_valid_before_utc, read.not_valid_after_utc
    if now() < begin:
        return False, f"not valid before {begin:%Y-%m-%d %H:%M} UTC"
    if now() > end:
        return False, f"expired on {end:%Y-%m-%d %H:%M} UTC"
    return True, f"valid until {end:%Y-%m-%d} ({(end - now()).days} days)"
