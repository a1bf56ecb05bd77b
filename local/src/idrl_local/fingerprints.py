"""What a running system was started with: digests of its code and of its secrets."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from idrl_local.home import CHECKOUT, Home, Secrets, write_private

# What the processes run from: a change of documents or tests restarts nothing.
_CODE = (
    *(f"{member}/src" for member in ("common", "web-server", "worker-server", "psg", "local")),
    "common/to_json.sed",
    "web-server/nginx/nginx.conf.template",
    "docs/openapi.yaml",
    "locks/all.txt",
)


@dataclass(frozen=True)
class Fingerprints:
    """SHA-256 digests in hexadecimal; empty where a release that stored none has started it."""

    code: str = ""
    secrets: str = ""


def present(secrets: Secrets, checkout: Path = CHECKOUT) -> Fingerprints:
    """Return the digests of the files as they are now."""
    return Fingerprints(digest_of_code(checkout), digest_of_secrets(secrets))


def store(home: Home, fingerprints: Fingerprints) -> None:
    """Store what the system that is being started runs with, for its user alone."""
    write_private(_file(home), json.dumps(asdict(fingerprints)))


def stored(home: Home) -> Fingerprints:
    """Return what the system that runs, or ran last, was started with."""
    if not _file(home).exists():
        return Fingerprints()
    return Fingerprints(**json.loads(_file(home).read_text()))


def _file(home: Home) -> Path:
    return home.run / "fingerprints.json"


def digest_of_code(checkout: Path = CHECKOUT) -> str:
    """Return the digest of all files that the processes run from, as they are now."""
    digest = hashlib.sha256(f"{checkout}\0{sys.version}".encode())
    for path in sorted(_files(checkout)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(os.fsencode(path.relative_to(checkout)) + f"\0{content}\0".encode())
    return digest.hexdigest()


def _files(checkout: Path) -> Iterator[Path]:
    """Yield the files that the processes run from, without what Python and pip make of them."""
    for name in _CODE:
        path = checkout / name
        if path.is_file():
            yield path
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = [
                each for each in subfolders if not each.endswith(("__pycache__", ".egg-info"))
            ]
            yield from (Path(folder) / each for each in names)


def digest_of_secrets(secrets: Secrets) -> str:
    """Return the digest of all secrets."""
    return hashlib.sha256(json.dumps(asdict(secrets), sort_keys=True).encode()).hexdigest()
