"""A renewed certificate is read while the system runs: `make reload SERVICE=nginx`."""

import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from idrl_local import config, settings_check, supervision, tls
from idrl_local.home import Home, free_ports
from idrl_local.programs import Installation
from idrl_testing.tls import write_certificate
from idrl_testing.waiting import wait_until

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
        return ssl.get_server_certificate(("127.0.0.1", installation.ports.nginx), timeout=5)
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
