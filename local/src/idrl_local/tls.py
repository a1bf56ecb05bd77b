"""The certificate that nginx shows: the files that TLS_CERT and TLS_KEY name."""

import os
import ssl
from collections.abc import Mapping
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
    for source, name in ((certificate, CERTIFICATE), (key, KEY)):
        target = folder / name
        target.unlink(missing_ok=True)
        # O_EXCL: nginx's user owns the folder and could place a symbolic link there.
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(Path(source).read_bytes())
            servers.chown_to_nobody(file.fileno())


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
