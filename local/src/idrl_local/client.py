"""A small client of the public API, for the demo."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests

_TIMEOUT_S = 60
_CHUNK_BYTES = 1024 * 1024


class CallFailed(Exception):
    """The API answered with a problem; the message is what it says."""


@dataclass(frozen=True)
class Client:
    """Speaks for one account; every method raises CallFailed or requests.RequestException."""

    base_url: str
    session: requests.Session

    @classmethod
    def signed_up(cls, base_url: str, name: str, password: str) -> Self:
        """Make an account, log in, and return a client that holds the token."""
        session = requests.Session()
        session.trust_env = False  # a proxy of the environment knows nothing of our loopback
        client = cls(base_url, session)
        email = f"{name}@example.com"
        account = {"username": name, "email": email, "password": password, "password_2": password}
        client.call("POST", "/auth/signup", json=account)
        token = client.call("POST", "/auth/login", json={"email": email, "password": password})[
            "token"
        ]
        session.headers["Authorization"] = f"Bearer {token}"
        return client

    def call(self, method: str, path: str, json: object = None) -> dict[str, Any]:
        """Return the document that a call answers with."""
        answer = self.session.request(method, self.base_url + path, json=json, timeout=_TIMEOUT_S)
        if not answer.ok:
            raise CallFailed(_reason(answer))
        document: dict[str, Any] = answer.json()
        return document

    def download(self, path: str, target: Path, sha256: str) -> None:
        """Save what a link leads to; raise CallFailed when it is not what the API announced."""
        digest = hashlib.sha256()
        with self.session.get(self.base_url + path, stream=True, timeout=_TIMEOUT_S) as answer:
            if not answer.ok:
                raise CallFailed(_reason(answer))
            with target.open("wb") as file:
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
        if digest.hexdigest() != sha256:
            raise CallFailed(f"{path} arrived damaged")


def _reason(answer: requests.Response) -> str:
    """Return a sentence: what the problem document says, else the status."""
    call = f"{answer.request.method} {urlsplit(answer.url).path} answered {answer.status_code}"
    try:
        problem = answer.json()
        return f"{call}: {problem['detail']} ({problem['code']})"
    except (ValueError, KeyError, TypeError):
        return f"{call} {answer.reason}"
