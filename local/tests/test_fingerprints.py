"""Which changes of a checkout and of its secrets make a running system outdated."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from idrl_local import fingerprints
from idrl_local.home import CHECKOUT, Home, Secrets

SECRETS = Secrets("a", "b", "c", "d", "e", "f")
FILES = (
    "common/src/idrl_common/settings.py",
    "web-server/src/web_server/page_assets/app.js",
    "web-server/nginx/nginx.conf.template",
    "worker-server/src/worker_server/queue/sql/claim_part.sql",
    "psg/src/psg/env.py",
    "local/src/idrl_local/programs.py",
    "docs/openapi.yaml",
    "locks/all.txt",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_changed_or_missing_file_is_other_code(checkout: Path, name: str) -> None:
    before = fingerprints.present(SECRETS, checkout)
    assert fingerprints.present(SECRETS, checkout) == before
    (checkout / name).write_bytes((checkout / name).read_bytes() + b" ")
    changed = fingerprints.present(SECRETS, checkout)
    (checkout / name).unlink()
    missing = fingerprints.present(SECRETS, checkout)
    assert len({before.code, changed.code, missing.code}) == 3


def test_bytecode_and_documents_are_no_code(checkout: Path) -> None:
    before = fingerprints.present(SECRETS, checkout)
    for name in ("psg/src/psg/__pycache__/env.pyc", "docs/api.md", "psg/tests/test_env.py"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).touch()
    assert fingerprints.present(SECRETS, checkout) == before


def test_each_secret_counts(checkout: Path) -> None:
    digests = {
        fingerprints.present(replace(SECRETS, **{name: "new"}), checkout).secrets
        for name in Secrets.__dataclass_fields__
    }
    assert len(digests) == len(Secrets.__dataclass_fields__)


def test_what_is_stored_is_read_again_and_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    assert fingerprints.stored(home) == fingerprints.Fingerprints()
    present = fingerprints.present(SECRETS)
    fingerprints.store(home, present)
    assert fingerprints.stored(home) == present
    (file,) = home.run.glob("fingerprints.*")
    assert file.stat().st_mode & 0o077 == 0
