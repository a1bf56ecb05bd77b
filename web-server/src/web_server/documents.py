"""The JSON documents that the web app answers with."""

from typing import TypedDict

from idrl_common.times import utc_text
from web_server.models import ApiKey, User
from web_server.token_signer import LIFETIME_S


class UserDocument(TypedDict):
    """An account, as its owner sees it."""

    user_id: int
    username: str
    email: str


class AccountDocument(UserDocument):
    """An account with what only its owner needs to know."""

    role: str
    created_at: str
    sample_url: str | None


class KeyDocument(TypedDict):
    """A key for scripts, without the key itself."""

    key_id: str
    name: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class TokenDocument(TypedDict):
    """A token, and for how many seconds it is valid."""

    token: str
    token_type: str
    expires_in: int


def user_document(user_id: int, username: str, email: str) -> UserDocument:
    """Return the account."""
    return {"user_id": user_id, "username": username, "email": email}


def token_document(token: str) -> TokenDocument:
    """Return a new token."""
    return {"token": token, "token_type": "Bearer", "expires_in": LIFETIME_S}


def account_document(user: User, sample_url: str | None) -> AccountDocument:
    """Return the account, as its owner sees it."""
    return {
        "user_id": user.id,
        "username": user.username,
        "email": user.email,
        "role": user.role,
        "created_at": utc_text(user.created_at),
        "sample_url": sample_url,
    }


def key_document(key: ApiKey) -> KeyDocument:
    """Return what is known of a key."""
    return {
        "key_id": str(key.id),
        "name": key.name,
        "created_at": utc_text(key.created_at),
        "expires_at": utc_text(key.expires_at) if key.expires_at else None,
        "last_used_at": utc_text(key.last_used_at) if key.last_used_at else None,
    }
