"""What callers attach to a task for their own use: name, external_id and metadata."""

import json
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from idrl_common.validation import NOT_BLANK, is_blank

_MAX_NAME_LENGTH = 200
_MAX_METADATA_BYTES = 4096
# The JSON parser accepts 200 levels; documents nest the metadata a few levels deeper.
_MAX_METADATA_LEVELS = 100
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
_JOINERS = "\u200c\u200d"


def default_name(url: str) -> str:
    """Return the name of the file in the URL, decoded, or the host where there is no file."""
    parts = urlsplit(url)
    name = unquote(parts.path.rpartition("/")[2])
    if is_blank(name):
        name = parts.hostname or url
    return one_line(name)[:_MAX_NAME_LENGTH]


def one_line(text: str) -> str:
    """Return the text with a space for each character that is not printable.

    Joiners stay: Persian, Indian scripts and emoji are spelled with them.
    """
    return "".join(char if char.isprintable() or char in _JOINERS else " " for char in text)


def _bounded_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse what PostgreSQL cannot store, and what is too deep or too large to be shown.

    The size is that of compact JSON in UTF-8.
    """
    if _levels(metadata) > _MAX_METADATA_LEVELS:
        message = "Must not be nested more than 100 levels deep."
        raise PydanticCustomError("metadata_too_deep", message)
    if any("\x00" in text for text in _texts(metadata)):
        raise PydanticCustomError("string_nul", "Must not contain a NUL character.")
    try:
        compact = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:  # 1e400 is valid JSON, but infinite as a float
        raise PydanticCustomError("finite_number", "Numbers must be finite.") from error
    if len(compact.encode()) > _MAX_METADATA_BYTES:
        raise PydanticCustomError(
            "metadata_too_large", f"Must be at most {_MAX_METADATA_BYTES} bytes of JSON."
        )
    return metadata


def _levels(value: object) -> int:
    """Return how deep objects and lists are nested."""
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_levels, inner), default=0)


def _texts(value: object) -> Iterator[str]:
    """Yield every key and every string of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


Name = Annotated[
    str, Field(min_length=1, max_length=_MAX_NAME_LENGTH, pattern=_ONE_LINE), NOT_BLANK
]
ExternalId = Annotated[str, Field(min_length=1, max_length=128, pattern=_ONE_LINE)]
Metadata = Annotated[dict[str, Any], AfterValidator(_bounded_metadata)]
