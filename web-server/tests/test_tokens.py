"""Which tokens are accepted."""

# ruff: noqa: ARG005 # every forger is handed both key pairs, whether it needs them or not

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from flask import Flask

from idrl_common.token_verifier import TokenVerifier
from web_server.token_signer import TokenSigner

if TYPE_CHECKING:
    from conftest import AuthActions, Keys, MakeApp, TasksStandIn

Claims = dict[str, object]


def good_claims() -> Claims:
    now = int(time.time())
    return {"sub": "1", "user_id": 1, "iss": "idrl", "aud": "idrl", "iat": now, "exp": now + 60}


def signed(keys: Keys, **changed: object) -> str:
    """Return a token with good claims but these; one that is None is left out."""
    claims = {
        name: value for name, value in {**good_claims(), **changed}.items() if value is not None
    }
    return jwt.encode(claims, keys.private, "EdDSA")


def _signed_without(claim: str, keys: Keys, _: Keys) -> str:
    return signed(keys, **{claim: None})


def unsigned(header: Claims, signature: bytes = b"") -> str:
    pieces = [json.dumps(header).encode(), json.dumps(good_claims()).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in pieces)


def hs256_with_the_public_key(keys: Keys) -> str:
    head = unsigned({"alg": "HS256", "typ": "JWT"}).rpartition(".")[0]
    signature = (
        base64.urlsafe_b64encode(digest(keys.public.encode(), head.encode(), sha256))
        .rstrip(b"=")
        .decode()
    )
    return f"{head}.{signature}"


def changed_payload(keys: Keys) -> str:
    head, _, signature = signed(keys).split(".")
    payload = base64.urlsafe_b64encode(
        json.dumps({**good_claims(), "sub": "2", "user_id": 2}).encode()
    )
    return f"{head}.{payload.rstrip(b'=').decode()}.{signature}"


MINUTE_AGO = int(time.time()) - 60
FORGED: dict[str, tuple[str, Callable[[Keys, Keys], str]]] = {
    "garbage": ("token_invalid", lambda keys, other: "garbage"),
    "three pieces of garbage": ("token_invalid", lambda keys, other: "a.b.c"),
    "letters that are no ASCII": ("token_invalid", lambda keys, other: "\u00e9.\u00e9.\u00e9"),
    "expired": ("token_expired", lambda keys, other: signed(keys, exp=MINUTE_AGO)),
    "no algorithm": ("token_invalid", lambda keys, other: unsigned({"alg": "none", "typ": "JWT"})),
    "no signature": ("token_invalid", lambda keys, other: unsigned({"alg": "EdDSA", "typ": "JWT"})),
    "HS256 with the public key": (
        "token_invalid",
        lambda keys, other: hs256_with_the_public_key(keys),
    ),
    "another's key": ("token_invalid", lambda keys, other: signed(other)),
    "another's key, expired": ("token_invalid", lambda keys, other: signed(other, exp=MINUTE_AGO)),
    "a changed payload": ("token_invalid", lambda keys, other: changed_payload(keys)),
    "another's audience": ("token_invalid", lambda keys, other: signed(keys, aud="other")),
    "another's issuer": ("token_invalid", lambda keys, other: signed(keys, iss="other")),
    "another's subject": ("token_invalid", lambda keys, other: signed(keys, sub="2")),
    "a user that is text": ("token_invalid", lambda keys, other: signed(keys, user_id="1")),
    "a user that is true": (
        "token_invalid",
        lambda keys, other: signed(keys, sub="True", user_id=True),
    ),
    "a role that there is not": ("token_invalid", lambda keys, other: signed(keys, role="root")),
    "another type": (
        "token_invalid",
        lambda keys, other: jwt.encode(
            good_claims(), keys.private, "EdDSA", headers={"typ": "share+jwt"}
        ),
    ),
    "no type": (
        "token_invalid",
        lambda keys, other: jwt.encode(good_claims(), keys.private, "EdDSA", headers={"typ": None}),
    ),
    "issued tomorrow": (
        "token_invalid",
        lambda keys, other: signed(keys, iat=int(time.time()) + 86400),
    ),
    **{
        f"no {claim}": (
            "token_invalid",
            partial(_signed_without, claim),
        )
        for claim in ("sub", "user_id", "iss", "aud", "iat", "exp")
    },
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(
    app: Flask, tasks: TasksStandIn, keys: Keys, other_keys: Keys, name: str
) -> None:
    code, forge = FORGED[name]
    bearer = {"Authorization": b"Bearer " + forge(keys, other_keys).encode()}
    raw = {key: value.decode("latin-1") for key, value in bearer.items()}
    for method, path in (
        ("GET", "/tasks"),
        ("POST", "/tasks"),
        ("GET", "/tasks/1/parts/0"),
        ("DELETE", "/tasks/1"),
    ):
        answer = app.test_client().open(path, method=method, headers=raw)
        assert answer.json is not None
        assert (answer.status_code, answer.json["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert tasks.seen == []


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "token"])
def test_call_without_a_token_is_refused(
    app: Flask, tasks: TasksStandIn, header: str | None
) -> None:
    answer = app.test_client().get(
        "/tasks", headers={"Authorization": header} if header is not None else {}
    )
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert tasks.seen == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_of_log_in_is_accepted(auth: AuthActions, tasks: TasksStandIn, scheme: str) -> None:
    token = auth.bearer()["Authorization"].split()[1]
    assert (
        auth.client.get("/tasks", headers={"Authorization": f"{scheme} {token}"}).status_code == 200
    )
    assert len(tasks.seen) == 1


def test_claims_of_a_token(auth: AuthActions, keys: Keys) -> None:
    token = auth.bearer()["Authorization"].split()[1]
    claims = jwt.decode(token, keys.public, algorithms=["EdDSA"], audience="idrl", issuer="idrl")
    assert set(claims) == {*("sub", "user_id", "role", "iss", "aud", "iat", "exp", "auth_time")}
    assert (claims["sub"], claims["user_id"]) == ("1", 1)
    assert (claims["role"], claims["auth_time"]) == ("user", claims["iat"])
    assert 3599 < claims["exp"] - claims["iat"] <= 3600
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt"}


def test_both_keys_are_valid_during_a_rotation(
    make_app: MakeApp, auth: AuthActions, keys: Keys, other_keys: Keys
) -> None:
    auth.signup()
    client = make_app(jwt_public_key=other_keys.public + keys.public).test_client()
    for good in (keys, other_keys):
        assert (
            client.get("/tasks", headers={"Authorization": f"Bearer {signed(good)}"}).status_code
            == 200
        )
    for bad in (signed(keys, exp=MINUTE_AGO), signed(other_keys, exp=MINUTE_AGO)):
        answer = client.get("/tasks", headers={"Authorization": f"Bearer {bad}"})
        assert answer.json is not None
        assert answer.json["code"] == "token_expired"


def test_no_token_is_refused_during_a_key_rotation(keys: Keys, other_keys: Keys) -> None:
    old, new, both = keys, other_keys, other_keys.public + keys.public
    steps = [  # the key that signs, then what the web app and the tasks service take
        (old.private, old.public, old.public),
        (old.private, old.public, both),
        (old.private, both, both),
        (new.private, both, both),
        # an hour later: every token of the old key has expired
        (new.private, both, new.public),
        (new.private, new.public, new.public),
    ]
    for begin, (private, web, _) in enumerate(steps):
        token = TokenSigner(private, TokenVerifier(web)).sign(7)
        end = 4 if private == old.private else len(steps)
        for _, *services in steps[begin:end]:
            assert [TokenVerifier(public).verify(token).user_id for public in services] == [7, 7]


def test_signer_refuses_a_key_of_another_pair(keys: Keys, other_keys: Keys) -> None:
    with pytest.raises(ValueError, match="does not belong to any key of JWT_PUBLIC_KEY"):
        TokenSigner(keys.private, TokenVerifier(other_keys.public))
    TokenSigner(keys.private, TokenVerifier(other_keys.public + keys.public))


def pem(key: rsa.RSAPrivateKey | Ed25519PrivateKey, password: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.mark.parametrize(
    "private_key",
    [
        "",
        "secret",
        "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(Ed25519PrivateKey.generate(), b"password"),
    ],
    ids=["nothing", "no PEM", "broken PEM", "RSA", "encrypted"],
)
def test_signer_refuses_other_kinds_of_keys(keys: Keys, private_key: str) -> None:
    with pytest.raises(ValueError, match="must hold one unencrypted Ed25519 private key") as caught:
        TokenSigner(private_key, TokenVerifier(keys.public))
    assert "secret" not in str(caught.value)


def test_app_refuses_to_start_with_keys_of_two_pairs(make_app: MakeApp, other_keys: Keys) -> None:
    with pytest.raises(ValueError, match="JWT_PUBLIC_KEY"):
        make_app(jwt_public_key=other_keys.public)
