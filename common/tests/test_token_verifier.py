"""A verifier takes what its keys have signed, for us and in full."""

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask

from idrl_common.problems import Problem
from idrl_common.token_verifier import (
    LEEWAY_S,
    Identity,
    TokenExpired,
    TokenInvalid,
    TokenVerifier,
    identify,
)

OLD, NEW, STRANGE = (Ed25519PrivateKey.generate() for _ in range(3))


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def token(key: Ed25519PrivateKey = NEW, **changed: object) -> str:
    now = int(time.time())
    claims = {
        "sub": "7",
        "user_id": 7,
        "iss": "idrl",
        "aud": "idrl",
        "iat": now,
        "exp": now + 60,
        **changed,
    }
    return jwt.encode(claims, key, "EdDSA")


def test_valid_token_identifies_its_account() -> None:
    assert TokenVerifier(pem(NEW)).verify(token()) == Identity(7)


@pytest.mark.parametrize("keys", [(OLD, NEW), (NEW, OLD)])
def test_tokens_of_both_keys_are_valid(keys: tuple[Ed25519PrivateKey, Ed25519PrivateKey]) -> None:
    verifier = TokenVerifier("".join(map(pem, keys)))
    assert verifier.verify(token(OLD)) == verifier.verify(token(NEW)) == Identity(7)
    with pytest.raises(TokenInvalid):
        verifier.verify(token(STRANGE))
    for key in keys:
        with pytest.raises(TokenExpired):
            verifier.verify(token(key, exp=int(time.time()) - LEEWAY_S - 5))


@pytest.mark.parametrize("seconds", [-LEEWAY_S + 5, LEEWAY_S - 5])
def test_clocks_may_differ_a_little(seconds: int) -> None:
    now = int(time.time()) + seconds
    assert TokenVerifier(pem(NEW)).verify(token(iat=now, exp=now + 3600)) == Identity(7)


def test_cached_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, expires_at_s = TokenVerifier(pem(NEW)), int(time.time()) + 60
    given = token(exp=expires_at_s)
    assert verifier.verify(given) == Identity(7)
    monkeypatch.setattr(time, "time", lambda: expires_at_s + LEEWAY_S - 0.1)
    assert verifier.verify(given) == Identity(7)
    monkeypatch.setattr(time, "time", lambda: expires_at_s + LEEWAY_S)
    with pytest.raises(TokenExpired):
        verifier.verify(given)


def test_cached_token_is_invalid_for_another_key() -> None:
    encoded = token()
    assert TokenVerifier(pem(NEW)).verify(encoded) == Identity(7)
    with pytest.raises(TokenInvalid):
        TokenVerifier(pem(OLD)).verify(encoded)


def test_altered_token_is_invalid() -> None:
    verifier, given = TokenVerifier(pem(NEW)), token()
    verifier.verify(given)
    for other in (given[:-1], given + "A", given.upper()):
        with pytest.raises(TokenInvalid):
            verifier.verify(other)


def test_a_signed_token_over_2048_characters_is_refused() -> None:
    verifier = TokenVerifier(pem(NEW))
    assert verifier.verify(token(filler="x" * 1000)) == Identity(7)
    with pytest.raises(TokenInvalid):
        verifier.verify(token(filler="x" * 2000))


def test_expired_and_forged_tokens_raise_different_errors() -> None:
    verifier = TokenVerifier(pem(NEW))
    past = int(time.time()) - LEEWAY_S - 5
    with pytest.raises(TokenExpired):
        verifier.verify(token(exp=past))
    with pytest.raises(TokenInvalid) as caught:
        verifier.verify(token(STRANGE, exp=past))
    assert not isinstance(caught.value, TokenExpired)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "x"},
        {"iss": "x"},
        {"sub": "8"},
        {"user_id": "7"},
        {"user_id": 7.0},
        {"exp": "soon"},
        {"iat": int(time.time()) + 86_400},  # of a web machine whose clock is ahead
    ],
)
def test_a_wrong_claim_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        TokenVerifier(pem(NEW)).verify(token(**claims))


@pytest.mark.parametrize(
    "keys",
    [
        "",
        "key",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(NEW) + pem(ec.generate_private_key(ec.SECP256R1())),
        pem(NEW) + pem(OLD).partition("-----END")[0],
        pem(NEW).partition("-----END")[0] + pem(OLD),
        pem(NEW).replace("MCow", "MC"),
        pem(NEW) + pem(OLD).replace("MCow", "MCox"),
    ],
    ids=[
        "nothing",
        "no PEM",
        "another kind",
        "one of another kind",
        "a second without end",
        "a first without end",
        "a block with letters missing",
        "a second with another letter",
    ],
)
def test_verifier_refuses_other_kinds_of_keys(keys: str) -> None:
    with pytest.raises(
        ValueError, match="JWT_PUBLIC_KEY must hold one or more Ed25519 public keys"
    ):
        TokenVerifier(keys)


@pytest.mark.parametrize(
    ("header", "code", "challenge"),
    [
        ("", "token_missing", "Bearer"),
        ("Bearer", "token_missing", "Bearer"),
        ("Basic YTpi", "token_missing", "Bearer"),
        ("Bearer x", "token_invalid", 'Bearer error="invalid_token"'),
        (f"Bearer {token(exp=1)}", "token_expired", 'Bearer error="invalid_token"'),
    ],
)
def test_request_without_valid_token_gets_a_challenge(
    app: Flask, header: str, code: str, challenge: str
) -> None:
    with (
        app.test_request_context("/", headers={"Authorization": header}),
        pytest.raises(Problem) as caught,
    ):
        identify(TokenVerifier(pem(NEW)))
    assert (caught.value.status, caught.value.code) == (401, code)
    assert caught.value.headers == {"WWW-Authenticate": challenge}


def test_bearer_token_identifies_the_caller(app: Flask) -> None:
    with app.test_request_context("/", headers={"Authorization": f"bearer {token()}"}):
        assert identify(TokenVerifier(pem(NEW))) == Identity(7)
