"""Conditions of a change: If-Match and If-None-Match of PATCH and DELETE (RFC 9110 §13.1).

Documents have weak tags, so both compare weakly: strong comparison would match none of them.
"""

from collections.abc import Callable

from flask import request

from idrl_common.problems import Problem


def require(read_tag: Callable[[], str]) -> None:
    """Raise a 412 Problem unless the current request's conditions hold for the document's tag.

    To be called with its rows locked: then no change comes between this one and the change.
    """
    if not (request.headers.get("If-Match") or request.headers.get("If-None-Match")):
        return
    tag = read_tag()
    is_wanted = not request.headers.get("If-Match") or request.if_match.contains_weak(tag)
    if not is_wanted or request.if_none_match.contains_weak(tag):
        message = "The current version does not match the request's If-Match or If-None-Match."
        raise Problem(412, "precondition_failed", message)
