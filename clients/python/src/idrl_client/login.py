"""The address and the key that a command uses: of the environment, else of the last log-in."""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from idrl_client.connection import is_web_address
from idrl_client.errors import LocalFault, NotLoggedIn

_SERVICE = "idrl"


@dataclass(frozen=True)
class Login:
    """An address and its key."""

    url: str
    key: str


def load(environment: Mapping[str, str]) -> Login:
    """Return IDRL_URL and IDRL_KEY, each replaced by what the last log-in stored if absent.

    A stored key goes to the address that it was stored for and to no other. Raises NotLoggedIn.
    """
    is_complete = environment.get("IDRL_URL") and environment.get("IDRL_KEY")
    stored = {} if is_complete else _read(_file(environment))  # which may be closed to this user
    url = (environment.get("IDRL_URL") or stored.get("url", "")).rstrip("/")
    if not url:
        raise NotLoggedIn("not logged in: `idrl login URL`, or set IDRL_URL and IDRL_KEY")
    if not is_web_address(url):
        raise NotLoggedIn(f"IDRL_URL={url} must begin with http:// or https://")
    key = environment.get("IDRL_KEY") or (_stored_key(stored) if url == stored.get("url") else None)
    if not key:
        raise NotLoggedIn(f"there is no key for {url}: `idrl login {url}`, or set IDRL_KEY")
    return Login(url, checked_key(key, "IDRL_KEY"))


def checked_key(key: str, name: str) -> str:
    """Return the key; raise NotLoggedIn where no header can have it."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise NotLoggedIn(f"{name} has characters that no key has: copy the key again")
    return key


def save(login: Login, environment: Mapping[str, str], *, in_keyring: bool = True) -> str:
    """Store a log-in and return where its key is; the file is readable by its owner alone."""
    path = _file(environment)
    is_in_keyring = in_keyring and _put_into_keyring(login)
    document = {"url": login.url} if is_in_keyring else {"url": login.url, "key": login.key}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
        fresh.replace(path)
    except OSError as error:
        raise LocalFault(f"{path} cannot be written: {error.strerror}; set IDRL_KEY") from error
    return "the system's keyring" if is_in_keyring else str(path)


def stored_url(environment: Mapping[str, str]) -> str | None:
    """Return the address of the environment or of the last log-in."""
    return environment.get("IDRL_URL") or _read(_file(environment)).get("url")


def _file(environment: Mapping[str, str]) -> Path:
    folder = environment.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else _home() / ".config") / "idrl" / "login.json"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # a container's user that has no name
        raise LocalFault(
            "there is no home directory: set HOME, or IDRL_URL and IDRL_KEY"
        ) from error


def _read(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalFault(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise _damaged(path)
    return document


def _damaged(path: Path) -> LocalFault:
    return LocalFault(f"{path} is damaged: `idrl login URL` writes it again")


def _stored_key(stored: Mapping[str, str]) -> str | None:
    if "key" in stored:
        return stored["key"]
    keyring = _keyring()
    if keyring is None:
        return None
    try:
        key: str | None = keyring.get_password(_SERVICE, stored["url"])
    except keyring.errors.KeyringError as error:
        raise NotLoggedIn(f"the keyring does not return the key: {error}; set IDRL_KEY") from error
    return key


def _put_into_keyring(login: Login) -> bool:
    """Store the key in the system's keyring; return False if it is missing or locked."""
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_SERVICE, login.url, login.key)
    except keyring.errors.KeyringError:
        return False
    return True


def _keyring() -> ModuleType | None:
    """Return the module keyring where it is installed and the system has a keyring."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    return keyring if keyring.get_keyring().priority > 0 else None
