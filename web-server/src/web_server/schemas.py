"""What callers send, checked field by field; every broken rule has a code of its own."""

import unicodedata
from collections.abc import Callable
from typing import Annotated, Self

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from idrl_common.paging import PageQuery
from idrl_common.validation import INVISIBLE, NOT_BLANK, Body, CleanStr, JsonInt
from web_server.accounts import MAX_KEYS
from web_server.passwords import MAX_LENGTH as PASSWORD_MAX_LENGTH
from web_server.share_tokens import DEFAULT_LIFETIME_S, MAX_LIFETIME_S, MIN_LIFETIME_S

USERNAME_MAX_LENGTH = 64
# Before normalisation, which takes quadratic time for a long row of combining marks.
_RAW_MAX_LENGTH = 320
PASSWORD_MIN_LENGTH = 8

_PASSWORD_RULES: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    (
        "too_short",
        f"Must have at least {PASSWORD_MIN_LENGTH} characters.",
        lambda p: len(p) >= PASSWORD_MIN_LENGTH,
    ),
    (
        "too_long",
        f"Must have at most {PASSWORD_MAX_LENGTH} characters.",
        lambda p: len(p) <= PASSWORD_MAX_LENGTH,
    ),
    ("no_upper", "Must have an upper-case letter.", lambda p: any(map(str.isupper, p))),
    ("no_lower", "Must have a lower-case letter.", lambda p: any(map(str.islower, p))),
    ("no_digit", "Must have a digit.", lambda p: any(map(str.isdigit, p))),
)


def _normalized(value: str) -> str | None:
    """Return the text in NFKC, without spaces around it; None if it is too long."""
    if len(value) > _RAW_MAX_LENGTH:
        return None
    return unicodedata.normalize("NFKC", value).strip()


def _username(value: str) -> str:
    # Normalisation may make the name longer, so its length is checked afterwards.
    name = _normalized(value)
    if name == "":
        raise PydanticCustomError("string_too_short", "Must have at least one character.")
    if name is None or len(name) > USERNAME_MAX_LENGTH:
        raise PydanticCustomError(
            "string_too_long", f"Must have at most {USERNAME_MAX_LENGTH} characters."
        )
    return _printable(name)


def _email(value: str) -> str:
    try:
        return validate_email(_normalized(value) or "", check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise PydanticCustomError("email_invalid", "Must be an email address.") from error


def known_email(value: str) -> str:
    """Return the email of an account that exists, as its sign-up has stored it."""
    try:
        return _email(value)
    except PydanticCustomError:
        return value  # no account matches: same answer as for a wrong email


def _new_password(value: str) -> str:
    broken = [
        PydanticCustomError(code, message)
        for code, message, holds in _PASSWORD_RULES
        if not holds(value)
    ]
    if broken:
        raise ValidationError.from_exception_data(
            "password", [InitErrorDetails(type=e, input=None) for e in broken]
        )
    return value


def _printable(value: str) -> str:
    if not value.isprintable() or INVISIBLE.search(value):
        raise PydanticCustomError(
            "not_printable", "Must not contain control or invisible characters."
        )
    return value


Username = Annotated[CleanStr, AfterValidator(_username)]
Email = Annotated[CleanStr, AfterValidator(_email), AfterValidator(_printable)]


class _NewPassword(Body):
    password: Annotated[str, AfterValidator(_new_password)]
    password_2: str

    @field_validator("password_2")
    @classmethod
    def _equals_password(cls, value: str, info: ValidationInfo) -> str:
        # The whole body is the context: `info.data` lacks a password whose own validation failed.
        if info.context is not None and value != info.context.get("password", value):
            raise PydanticCustomError("mismatch", "Must be the same as password.")
        return value


class SignUp(_NewPassword):
    """The body of POST /auth/signup; `invitation` counts where sign-up needs one."""

    username: Username
    email: Email
    invitation: str | None = Field(None, min_length=1, max_length=128)


class ChangePassword(_NewPassword):
    """The body of POST /auth/password."""

    old_password: str = Field(min_length=1)


class ChangeProfile(Body):
    """The body of PATCH /me; a new email needs the password."""

    username: Username | None = None
    email: Email | None = None
    password: str | None = None

    @model_validator(mode="after")
    def _email_needs_password(self) -> Self:
        if self.email is not None and not self.password:
            raise PydanticCustomError("password_required", "A new email needs the password.")
        return self


class DeleteAccount(Body):
    """The body of DELETE /me."""

    password: str = Field(min_length=1)


class NewKey(Body):
    """The body of POST /me/keys; without `expires_in_days` the key is valid until it is deleted."""

    name: Annotated[CleanStr, AfterValidator(_printable), NOT_BLANK] = Field(
        min_length=1, max_length=100
    )
    expires_in_days: JsonInt | None = Field(None, ge=1, le=3650)


class KeyListing(PageQuery):
    """The query of GET /me/keys."""

    max: int = Field(MAX_KEYS, ge=1, le=MAX_KEYS)


class NewLink(Body):
    """The body of POST /tasks/<id>/links; without `part` the link shows the whole task."""

    expires_in_s: JsonInt = Field(DEFAULT_LIFETIME_S, ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)
    part: JsonInt | None = Field(None, ge=0)


class LogIn(Body):
    """The body of POST /auth/login; with `session` a browser gets the token as a cookie too."""

    email: Annotated[CleanStr, AfterValidator(known_email)] = Field(min_length=1)
    password: str = Field(min_length=1)
    session: bool = False
