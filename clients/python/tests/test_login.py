"""The key in a keyring that is there, locked or absent; the keyring itself is a stand-in."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from idrl_client import NotLoggedIn
from idrl_client.login import Login, load, save

LOGIN = Login("https://a.example", "idrl_secret")


class KeyringError(Exception):
    """The error of the package keyring."""


class Keyring(SimpleNamespace):
    """What the package keyring offers, for one key."""

    errors = SimpleNamespace(KeyringError=KeyringError)
    priority = 5
    is_locked = False

    def get_keyring(self) -> "Keyring":
        return self

    def set_password(self, service: str, url: str, key: str) -> None:
        if self.is_locked:
            raise KeyringError("locked")
        self.kept = (service, url, key)

    def get_password(self, service: str, url: str) -> str | None:
        if self.is_locked:
            raise KeyringError("locked")
        return str(self.kept[2]) if self.kept[:2] == (service, url) else None


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    keyring = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    return keyring


def test_key_in_the_keyring_is_in_no_file(keyring: Keyring, tmp_path: Path) -> None:
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert save(LOGIN, here) == "the system's keyring"
    assert "idrl_secret" not in (tmp_path / "idrl" / "login.json").read_text()
    assert load(here) == LOGIN
    keyring.is_locked = True
    with pytest.raises(NotLoggedIn, match="locked; set IDRL_KEY"):
        load(here)


@pytest.mark.parametrize(("priority", "is_locked"), [(0, False), (5, True)])
def test_key_is_stored_in_a_file_without_a_usable_keyring(
    keyring: Keyring, tmp_path: Path, priority: int, is_locked: bool
) -> None:
    keyring.priority, keyring.is_locked = priority, is_locked
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert save(LOGIN, here) == str(tmp_path / "idrl" / "login.json")
    assert load(here) == LOGIN
