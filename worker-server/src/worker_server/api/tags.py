"""Entity tags of documents: weak, as a document's JSON may be written differently.

A tag is a digest of the versions of the rows that a document shows. PostgreSQL gives every version
of a row the id of the transaction that wrote it (`xmin`), so no change of a row goes unnoticed, and
a tag costs a fraction of the document. It leaves out `eta_s`, which changes with the clock.
"""

import hashlib
from collections.abc import Iterable

from flask import Response, request

# Increment when the same rows produce another document, so that cached ETags stop matching.
_FORMAT = "3"


def weak_tag(row_versions: Iterable[str], *state: object) -> str:
    """Return the tag of a document made of these row versions, and of state not in the database."""
    text = "\n".join((_FORMAT, *map(str, state), *row_versions))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def is_conditional() -> bool:
    """Return whether the current request names tags, so that a 304 may answer it."""
    return "If-None-Match" in request.headers


def is_known(tag: str) -> bool:
    """Return whether the caller of the current request has the document with this tag."""
    return request.if_none_match.contains_weak(tag)


def not_modified(tag: str) -> Response:
    """Return the 304."""
    response = Response(status=304)
    del response.headers["Content-Type"]
    return tagged(response, tag)


def tagged(response: Response, tag: str) -> Response:
    """Return the response with its tag; caches must ask before they use it again."""
    response.set_etag(tag, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    return response
