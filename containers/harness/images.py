"""The base images, with stand-ins where no registry answers, and the project's own images.

A stand-in has the name that the compose files ask for and Debian's build of the same software, so
that the files stay those that users run.
"""

import shutil
import ssl
from collections.abc import Iterable
from pathlib import Path

from harness.engine import Engine
from harness.stack import CHECKOUT

_RECIPES = Path(__file__).parents[1] / "standin"
BASES = {
    "python:3.11-slim-bookworm": "python",
    "postgres:17-bookworm": "postgres",
    "redis:7.2-bookworm": "redis",
    "nginx:1.28-bookworm": "nginx",
    "debian:bookworm-slim": "debian",
}
WEB, WORKER, MIGRATE = "idrl-test-web", "idrl-test-worker", "idrl-test-migrate"
FILE_SERVER, NFS_CLIENT = "idrl-test-file-server", "idrl-test-nfs-client"
# Names of their own, so that a system that runs on this machine keeps its images.
VARIABLES = {
    "WEB_IMAGE": WEB,
    "WORKER_IMAGE": WORKER,
    "MIGRATE_IMAGE": MIGRATE,
    "FILE_SERVER_IMAGE": FILE_SERVER,
}
_OWN = {WEB: "web-server", WORKER: "worker-server", MIGRATE: "psg"}
_BASE, _DEBIAN = "idrl-standin:bare", "idrl-standin:debian"
_SLIM = tuple(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale"))


def provide_bases(engine: Engine, folder: Path, names: Iterable[str] = BASES) -> list[str]:
    """Make these base images available; return the names of those built here as stand-ins."""
    wanted = [name for name in names if not engine.succeeds("image", "inspect", name)]
    missing = [name for name in wanted if not engine.succeeds("pull", "--quiet", name)]
    if missing and not engine.succeeds("image", "inspect", _DEBIAN):
        _make_debian(engine, folder)
    for name in missing:
        engine.build(name, str(_RECIPES / BASES[name]))
    return missing


def build_own(engine: Engine) -> None:
    """Build the project's images from the working tree."""
    for name, folder in _OWN.items():
        engine.build(name, "--file", str(CHECKOUT / folder / "Dockerfile"), str(CHECKOUT))


def remove(engine: Engine, stand_ins: list[str]) -> None:
    """Remove every image built here: stand-ins must not keep the names of registry images."""
    made = (*_OWN, FILE_SERVER, NFS_CLIENT, *stand_ins, _DEBIAN, _BASE)
    names = [name for name in made if engine.succeeds("image", "inspect", name)]
    if names:
        engine.docker("rmi", "--force", *names)


def _make_debian(engine: Engine, folder: Path) -> None:
    """Make a Debian as small as the registry's, which trusts what this machine trusts."""
    archive = folder / "debian.tar"
    merged = ("--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
    engine.run(
        "mmdebstrap", "--quiet", "--variant=minbase", *merged, *_SLIM, "bookworm", str(archive)
    )
    engine.docker("import", str(archive), _BASE)
    archive.unlink()
    context = folder / "debian"
    context.mkdir()
    shutil.copy(
        ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt",
        context / "ca.crt",
    )
    (context / "Dockerfile").write_text(
        f"FROM {_BASE}\nCOPY ca.crt /etc/host-ca.crt\n"
        "ENV SSL_CERT_FILE=/etc/host-ca.crt PIP_CERT=/etc/host-ca.crt\n"
    )
    engine.build(_DEBIAN, str(context))
