"""A renewed certificate is read while the system runs: `make reload SERVICE=nginx`."""

import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from idrl_local import config, settings_check, supervision, tls
from idrl_local.home import Home, free_ports
from idrl_local.programs import Installation
from idrl_testing.tls import write_certificate
from idrl_testing.waiting import LIMIT_S, wait_until

START = """
import os, pathlib, sys
from idrl_local import home, supervision
root = home.Home(pathlib.Path(sys.argv[1]))
supervision.start(root, home.Ports.starting_at(int(os.environ["PORT"])), os.environ)
supervision.start_programs(root, ["nginx"])
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return folder


@pytest.fixture
def installation(tmp_path: Path, files: Path) -> Iterator[Installation]:
    """A supervisord that runs nginx alone, with TLS."""
    chain, key = map(str, write_certificate(files))
    home, ports = Home(tmp_path / "home"), free_ports()
    home.create()
    environment = {"TLS_CERT": chain, "TLS_KEY": key, "PATH": os.environ["PATH"]}
    installation = Installation(home, ports, home.secrets(), environment)
    config.write_nginx(installation)
    settings_check.store_settings(home, environment)
    try:
        # In a process of its own: supervisord outlives it, as it outlives `make up`.
        own = {**os.environ, **environment, "PORT": str(ports.nginx)}
        subprocess.run([sys.executable, "-c", START, str(home.root)], env=own, check=True)
        wait_until(lambda: served(installation))
        yield installation
    finally:
        supervision.stop(home)


def served(installation: Installation) -> str:
    """Return the certificate that a caller sees; nothing while nginx does not answer."""
    with contextlib.suppress(OSError):
        return ssl.get_server_certificate(("127.0.0.1", installation.ports.nginx), timeout=LIMIT_S)
    return ""


def reload(installation: Installation, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "IDRL_HOME": str(installation.home.root), **environment}
    command = [sys.executable, "-m", "idrl_local", "reload", "nginx"]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, check=False)


def test_renewed_certificate_is_served_by_the_same_process(
    installation: Installation, files: Path
) -> None:
    before, pid = served(installation), installation.home.lock("nginx").pid
    write_certificate(files)
    done = reload(installation)
    assert done.returncode == 0, done.stderr
    assert "valid until" in done.stdout
    new = (files / "certificate.pem").read_text()
    wait_until(lambda: served(installation).split() == new.split())
    assert before.split() != new.split()
    assert installation.home.lock("nginx").pid == pid


def test_wrong_key_is_refused_and_the_old_certificate_stays(
    installation: Installation, files: Path
) -> None:
    before = served(installation)
    other = files / "other"
    other.mkdir()
    write_certificate(other)
    done = reload(installation, TLS_KEY=str(other / "key.pem"))
    assert done.returncode == 1
    assert "are not a certificate and its key" in done.stderr
    assert served(installation) == before
    kept = (installation.home.run / "nginx" / tls.KEY).read_bytes()
    assert kept == (files / "key.pem").read_bytes()


def test_reload_needs_tls(installation: Installation) -> None:
    settings_check.store_settings(installation.home, {})
    done = reload(installation)
    assert done.returncode == 1
    assert done.stderr.startswith("the system runs without TLS")


def test_state_of_a_certificate(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is valid from a day ago until tomorrow."""
    chain, _ = write_certificate(files)
    now = datetime.now(UTC)
    for days, is_valid, state in ((0, True, "valid until"), (2, False, "expired on")):
        monkeypatch.setattr(tls, "now", lambda days=days: now + timedelta(days=days))
        assert tls.state_of(chain)[0] is is_valid
        assert tls.state_of(chain)[1].startswith(state)
    monkeypatch.setattr(tls, "now", lambda: now - timedelta(days=2))
    assert tls.state_of(chain)[1].startswith("not valid before")


def test_chain_without_its_intermediate_is_named(files: Path) -> None:
    """nginx takes it, browsers often know the intermediate, and programs refuse it."""
    root, intermediate, leaf = chain_of(("root", "intermediate", "leaf"))
    for certificates, missing in (
        ((leaf,), "CN=intermediate"),
        ((leaf, intermediate), "CN=root"),
        ((leaf, intermediate, root), None),
        ((root,), None),
    ):
        path = files / "chain.pem"
        path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
        lines = list(tls.warnings(path))
        assert [f"certificate of {missing}," in line for line in lines] == [True] * bool(missing)


def test_public_authority_need_not_be_in_the_chain(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, intermediate, leaf = chain_of(("root", "intermediate", "leaf"))
    (files / "roots.pem").write_bytes(root.public_bytes(Encoding.PEM))
    monkeypatch.setattr("requests.utils.DEFAULT_CA_BUNDLE_PATH", str(files / "roots.pem"))
    path = files / "chain.pem"
    path.write_bytes(leaf.public_bytes(Encoding.PEM) + intermediate.public_bytes(Encoding.PEM))
    assert list(tls.warnings(path)) == []


def chain_of(names: Sequence[str]) -> list[x509.Certificate]:
    """Return certificates of which each has signed the next, and the first one itself."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    subjects = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in names]
    begin = datetime.now(UTC) - timedelta(days=1)
    return [
        x509.CertificateBuilder()
        .subject_name(subjects[number])
        .issuer_name(subjects[max(0, number - 1)])
        .public_key(keys[number].public_key())
        .serial_number(number + 1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(keys[max(0, number - 1)], hashes.SHA256())
        for number in range(len(names))
    ]


def test_full_disk_leaves_the_old_certificate(files: Path, tmp_path: Path) -> None:
    """nginx needs both files again when it ends and is started again."""
    chain, key = map(str, write_certificate(files))
    tls.install({"TLS_CERT": chain, "TLS_KEY": key}, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in (tls.CERTIFICATE, tls.KEY)}
    write_certificate(files)
    code = (
        "import resource, sys; from pathlib import Path; from idrl_local import tls;"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        " tls.install({'TLS_CERT': sys.argv[1], 'TLS_KEY': sys.argv[2]}, Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, chain, key, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
