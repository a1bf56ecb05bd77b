"""Ids in paths."""

import uuid
from collections.abc import Callable


def parse_id(text: str, not_found: Callable[[], Exception]) -> uuid.UUID:
    """Return the id that a path names; raise `not_found()` where the text is not a UUID."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise not_found() from error
