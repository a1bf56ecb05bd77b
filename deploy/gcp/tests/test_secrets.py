"""The script `secrets`, with a fake gcloud that records in files its input and its calls."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

SCRIPT = Path(__file__).parents[1] / "secrets"
NAMES = {
    "idrl-jwt-private-key",
    "idrl-jwt-public-key",
    "idrl-postgres-owner-password",
    "idrl-postgres-web-password",
    "idrl-postgres-worker-password",
    "idrl-redis-password",
}
GCLOUD = """#!/bin/sh
echo "$*" >>"$KEPT/../calls"
secret=$4
case "$2 $3" in
"list "*) [ ! -e "$KEPT/../away" ] && ls "$KEPT" ;;
"create "*) mkdir "$KEPT/$3" ;;
"versions list") [ ! -e "$KEPT/../away" ] && ls "$KEPT/$secret" ;;
"versions add") cat >"$KEPT/$secret/1" ;;
"versions access") cat "$KEPT/idrl-jwt-private-key/1" ;;
*) exit 2 ;;
esac
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcloud").write_text(GCLOUD)
    (tmp_path / "bin" / "gcloud").chmod(0o755)
    (tmp_path / "bin" / "terraform").symlink_to("/bin/true")
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


def run(kept: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{kept.parent / 'bin'}:{os.environ['PATH']}", "KEPT": str(kept)}
    command = ["/bin/bash", str(SCRIPT), "a-project-of-tests"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def values(kept: Path) -> dict[str, str]:
    return {path.name: (path / "1").read_text() for path in kept.iterdir()}


def test_keys_fit_and_passwords_differ(kept: Path) -> None:
    done = run(kept)
    assert done.returncode == 0, done.stderr
    made = values(kept)
    assert made.keys() == NAMES
    public = load_pem_private_key(made["idrl-jwt-private-key"].encode(), None).public_key()
    assert (
        made["idrl-jwt-public-key"]
        == public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )
    passwords = [value for name, value in made.items() if name.endswith("-password")]
    assert len(set(passwords)) == len(passwords) == 4
    assert all(len(password) == 48 and password.isalnum() for password in passwords)
    seen = done.stdout + done.stderr + (kept.parent / "calls").read_text()
    assert not [
        value
        for value in made.values()
        if value.splitlines()[-1] in seen or value.splitlines()[0] in seen
    ]


def test_what_is_there_stays(kept: Path) -> None:
    run(kept)
    before = values(kept)
    assert run(kept).returncode == 0
    assert values(kept) == before


def test_what_is_missing_is_made(kept: Path) -> None:
    run(kept)
    before = values(kept)
    (kept / "idrl-redis-password" / "1").unlink()
    assert run(kept).returncode == 0
    after = values(kept)
    assert {name for name in NAMES if after[name] != before[name]} == {"idrl-redis-password"}


def test_nothing_is_replaced_when_google_does_not_answer(kept: Path) -> None:
    run(kept)
    before = values(kept)
    (kept.parent / "away").touch()
    assert run(kept).returncode != 0
    assert values(kept) == before
