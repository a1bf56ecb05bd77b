"""The authority of the web machine's certificate, in place of Let's Encrypt: Pebble."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from expected import METADATA

_HOST = "metadata.google.internal"
_PORT, _MANAGEMENT_PORT = 14000, 15000
DIRECTORY = f"https://{_HOST}:{_PORT}/dir"


def make_certificate(folder: Path) -> Path:
    """Make the certificate of the authority's own server, which machines trust."""
    folder.mkdir()
    new_key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    names = f"subjectAltName=DNS:{_HOST},IP:{METADATA}"
    command = [*new_key, "-days", "2", "-subj", f"/CN={_HOST}", "-addext", names]
    files = ["-keyout", "server.key", "-out", "server.pem"]
    subprocess.run(["openssl", *command, *files], cwd=folder, check=True, capture_output=True)
    return folder / "server.pem"


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Serve ACME, and yield the file with the root that issued certificates lead to."""
    settings = {
        "listenAddress": f"{METADATA}:{_PORT}",
        "managementListenAddress": f"{METADATA}:{_MANAGEMENT_PORT}",
        "certificate": str(folder / "server.pem"),
        "privateKey": str(folder / "server.key"),
        # Where it calls who asks for a certificate, as Let's Encrypt does.
        "httpPort": 80,
        "tlsPort": 443,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1"}
    command = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"{METADATA}:53"]
    with (folder / "pebble.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            root = folder / "root.pem"
            root.write_text(_root(folder / "server.pem", server))
            yield root
        finally:
            server.terminate()
            server.wait(30)


def _root(trusted: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 30
    while True:
        try:
            url = f"https://{METADATA}:{_MANAGEMENT_PORT}/roots/0"
            return requests.get(url, verify=str(trusted), timeout=5).text
        except requests.ConnectionError:
            assert server.poll() is None, "Pebble ended"
            assert time.monotonic() < deadline, "Pebble does not answer"
            time.sleep(0.2)
