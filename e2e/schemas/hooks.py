"""What schemathesis cannot read from docs/openapi.yaml: accounts, and things that exist in them."""

import os
import secrets
import time
import uuid
from dataclasses import dataclass, field

import requests
import schemathesis
from requests.adapters import HTTPAdapter
from schemathesis.generation.meta import TestPhase
from urllib3.util import Retry

BASE_URL = os.environ["BASE_URL"]
VIDEO_URL = os.environ["VIDEO_URL"]
PASSWORD = "Analytical1"
# Elsewhere schemathesis follows ids from answer to request itself.
_PHASES_WITH_RANDOM_IDS = (TestPhase.COVERAGE, TestPhase.FUZZING)
# Prefixes of the operations that end tokens, as a new password does.
_ENDING_TOKENS = ("/auth", "/me")
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


def _retrying_session() -> requests.Session:
    """Return a session that asks again after 429 and 503, when `Retry-After` says."""
    session = requests.Session()
    retry = Retry(total=10, backoff_factor=0.5, status_forcelist=(429, 503), allowed_methods=None)
    session.mount(BASE_URL, HTTPAdapter(max_retries=retry))
    return session


# Its calls only prepare what is tested: "too many" and "busy" are expected answers.
_SESSION = _retrying_session()


@dataclass(frozen=True)
class Account:
    """A signed-up account; `ids` are path parameters of things that exist in it."""

    token: str
    ids: dict[str, object] = field(default_factory=dict)


def _new_account() -> Account:
    name = secrets.token_hex(8)
    form = {"email": f"{name}@example.com", "password": PASSWORD}
    signup = form | {"username": name, "password_2": PASSWORD}
    _SESSION.post(f"{BASE_URL}/auth/signup", json=signup, timeout=30).raise_for_status()
    answer = _SESSION.post(f"{BASE_URL}/auth/login", json=form, timeout=30)
    answer.raise_for_status()
    return Account(str(answer.json()["token"]))


def _finished_task(token: str) -> dict[str, object]:
    """Make a task and wait until its one part can be downloaded."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = _SESSION.post(
        f"{BASE_URL}/tasks", json={"url": VIDEO_URL}, headers=headers, timeout=30
    )
    answer.raise_for_status()
    task = answer.json()
    deadline = time.monotonic() + 60  # while Redis is stopped there is never one
    while task["status"] != "done" and time.monotonic() < deadline:
        time.sleep(0.2)
        task = _SESSION.get(f"{BASE_URL}{task['link']}", headers=headers, timeout=30).json()
    return {"task_id": task["task_id"], "number": 1}


def _collection(case: schemathesis.Case, _context: schemathesis.AuthContext) -> str:
    """Return the start of the path: what `POST /brands` makes, `PUT /brands/default` may ask for.

    Under the prefixes of accounts it is the path up to the first parameter.
    """
    path = str(case.operation.path)
    if path.startswith(_ENDING_TOKENS):
        return path.partition("/{")[0]
    return path.split("/")[1]


@schemathesis.auth(cache_by_key=_collection)
class AccountOfCollection:
    """An account for each collection: an operation that ends its tokens ends no other's.

    After a 401 schemathesis discards the account, and a new one follows.
    """

    def get(self, _case: schemathesis.Case, _context: schemathesis.AuthContext) -> Account:
        """Sign up and log in."""
        return _new_account()

    def set(
        self, case: schemathesis.Case, account: Account, _context: schemathesis.AuthContext
    ) -> None:
        """Send the token, and in half of the cases with a valid random id one that exists."""
        case.headers["Authorization"] = f"Bearer {account.token}"
        if case.meta is None or case.meta.phase.name not in _PHASES_WITH_RANDOM_IDS:
            return
        names = {parameter.name for parameter in case.operation.path_parameters}
        if "task_id" not in names or case.method.upper() == "DELETE":
            return
        if not account.ids:
            account.ids.update(_finished_task(account.token))
        ids = {name: value for name, value in account.ids.items() if name in names}
        if all(_is_random_id(case.path_parameters.get(name)) for name in ids):
            case.path_parameters.update(ids)


def _is_random_id(value: object) -> bool:
    """Return whether a path parameter is a number, or a UUID of the half that is replaced."""
    try:
        return str(value).isdigit() or bool(uuid.UUID(str(value)).int & 1)
    except ValueError:
        return False
