"""The shape of every error (RFC 9457), for Flask's test client and requests' responses."""

from typing import Any, Protocol

# A caller may repeat the call after `Retry-After`.
_TRANSIENT = (502, 503, 504)


class _Headers(Protocol):
    def __getitem__(self, key: str, /) -> str: ...


class Response(Protocol):
    """What both kinds of response share; `json` is a property of one, a method of the other."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> _Headers: ...

    @property
    def json(self) -> Any: ...  # noqa: ANN401 # a document, or a method that returns one


def problem(response: Response) -> tuple[int, str]:
    """Return status and code, having checked that the body is a whole problem document."""
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json() if callable(response.json) else response.json
    assert document["status"] == response.status_code
    assert document["type"] == f"urn:idrl:problem:{document['code']}"
    assert document["detail"]
    if response.status_code in _TRANSIENT:
        assert int(response.headers["Retry-After"]) > 0
    assert document["request_id"] == response.headers["X-Request-Id"]
    return response.status_code, str(document["code"])


def assert_problem(response: Response, status: int, code: str) -> None:
    """Fail unless the response is this problem, as a whole problem document."""
    assert problem(response) == (status, code)
