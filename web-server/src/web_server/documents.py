"""The JSON documents that the web app answers with."""

from typing import TypedDict

from web_server.token_signer import LIFETIME_S


class UserDocument(TypedDict):
    """An account, as its owner sees it."""

    user_id: int
    username: str
    email: str


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
