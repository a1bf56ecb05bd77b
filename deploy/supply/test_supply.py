"""SBOM, audit and base images; osv.dev and the registry are stand-ins on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from idrl_local import servers

CHECKOUT = Path(__file__).resolve().parents[2]
PIP_AUDIT = CHECKOUT / ".cache" / "supply" / "bin" / "pip-audit"
DIGESTS = ("1" * 64, "2" * 64)
PINNED = re.compile(r"^([a-z0-9.-]+)==([^ \\;]+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["web-server", "worker-server", "psg", "certbot", "all"])
def test_sbom_has_every_package_of_the_lock(name: str) -> None:
    document = json.loads((CHECKOUT / "sbom" / f"{name}.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    components = {(each["name"], each["version"]) for each in document["components"]}
    assert components >= set(PINNED.findall((CHECKOUT / "locks" / f"{name}.txt").read_text()))


class _Osv(BaseHTTPRequestHandler):
    """Answers as osv.dev does, with one vulnerability of flask and none of others."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {
            "id": "PYSEC-0000-1",
            "summary": "made up",
            "modified": "2026-01-01T00:00:00Z",
            "affected": [
                {
                    "package": {"name": "flask", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "99.0"}]}],
                }
            ],
        }
        body = json.dumps({"vulns": [known]} if query["package"]["name"] == "flask" else {})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base's name
        """Keep the tests' output free of requests."""


@contextmanager
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        finally:
            server.shutdown()


def audit(lock: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / "deploy/supply/audit.py"), str(PIP_AUDIT), str(lock)]
    return subprocess.run(
        [*command, "--osv-url", url], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(f"click==8.1.8 --hash=sha256:{'0' * 64}\n")
    return path


def test_audit_names_what_is_vulnerable(lock: Path) -> None:
    with osv() as url:
        clean = audit(lock, url)
        assert (clean.returncode, clean.stdout) == (0, f"{lock}: 1 packages checked\n")
        lock.write_text(lock.read_text() + f"flask==3.0.0 --hash=sha256:{'0' * 64}\n")
        vulnerabilities = audit(lock, url)
    assert vulnerabilities.returncode == 1, vulnerabilities.stderr
    assert "flask 3.0.0: PYSEC-0000-1, fixed in 99.0" in vulnerabilities.stdout


def test_audit_without_its_data_fails(lock: Path) -> None:
    url = f"http://127.0.0.1:{servers.free_port()}/v1/query"
    refused = audit(lock, url)
    assert refused.returncode == 3
    assert f"not audited: no complete answer from {url}" in refused.stderr


def files_with_images(script: str) -> list[Path]:
    return [
        CHECKOUT / name
        for name in re.findall(
            r"[\w./-]+/[\w.-]*(?:Dockerfile|\.yml|\.sh|\.env\.example)",
            script.partition("digest_of")[0],
        )
    ]


def test_raised_images_are_pinned_in_every_file_that_names_them(tmp_path: Path) -> None:
    """A `docker` that knows a digest for each image, another one the second time."""
    script = CHECKOUT / "deploy" / "supply" / "raise_images.sh"
    listed = files_with_images(script.read_text())
    tracked = subprocess.run(
        [
            "git",
            "grep",
            "-lE",
            r"[=-](python|postgres|redis|nginx|debian):[0-9a-z.-]*bookworm",
            "--",
            ":!containers",
            ":!docs",
            ":!deploy/supply",
            ":!*/tests/*",
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {str(path.relative_to(CHECKOUT)) for path in listed} == set(tracked)
    copies = []
    for number, path in enumerate(listed):
        copies.append(tmp_path / f"{number}-{path.name}")
        shutil.copy(path, copies[-1])
    before = [copy.read_text() for copy in copies]
    for digest in DIGESTS:
        assert raise_images(script, tmp_path, copies, digest).returncode == 0
        for copy, text in zip(copies, before, strict=True):
            pinned = copy.read_text()
            assert pinned != text
            assert pinned.replace(f"@sha256:{digest}", "") == text
    texts = [copy.read_text() for copy in copies]
    failed = raise_images(script, tmp_path, copies, "")
    assert failed.returncode == 1
    assert "the registry gives no digest of python:3.11-slim-bookworm: nothing" in failed.stderr
    assert [copy.read_text() for copy in copies] == texts


def raise_images(
    script: Path, folder: Path, files: list[Path], digest: str
) -> subprocess.CompletedProcess[str]:
    docker = folder / "docker"
    docker.write_text(
        "#!/bin/sh\nfor image; do :; done\n"
        f'[ "$1" = pull ] || echo "${{image%:*}}@sha256:{digest}"\n'
    )
    docker.chmod(0o755)
    environment = {**os.environ, "FILES": " ".join(map(str, files))}
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    return subprocess.run(
        [script], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
