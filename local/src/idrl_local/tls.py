"""The certificate that nginx shows: the files that TLS_CERT and TLS_KEY name."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from idrl_local import servers
from idrl_local.home import HomeUnusable

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
        # Exclusively: the folder belongs to nginx's user, who could put a link there.
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(Path(source).read_bytes())
            servers.chown_to_nobody(file.fileno())


def _check(certificate: str, key: str) -> None:
    for name, path in (("TLS_CERT", certificate), ("TLS_KEY", key)):
        if not os.access(path, os.R_OK) or not Path(path).is_file():
            raise HomeUnusable(f"{name} names {path}, which is no file that can be read")
    try:
        # An empty password instead of a prompt for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise HomeUnusable(
            f"{certificate} and {key} are no certificate and its key, in PEM and without a password"
        ) from None
