"""The JSON of a response, checked to be what idrl sends: another service may answer there."""

from typing import Any

import requests

from idrl_client.errors import Unreachable


def document(answer: requests.Response, *names: str) -> Any:  # noqa: ANN401 # JSON of the contract's shape
    """Return the JSON object of a response; raise Unreachable for any other."""
    content = _json(answer)
    if not _has(content, names):
        raise not_idrl(answer)
    return content


def rows(answer: requests.Response, *names: str) -> Any:  # noqa: ANN401 # as above
    """Return the JSON list of a response; raise Unreachable unless each row has these fields."""
    content = _json(answer)
    if not isinstance(content, list) or not all(_has(each, names) for each in content):
        raise not_idrl(answer)
    return content


def problem(answer: requests.Response) -> dict[str, Any]:
    """Return the problem document; {} for any other, such as `{"code": 404}` of another API."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    fields = content if isinstance(content, dict) else {}
    return fields if all(isinstance(fields.get(name), str) for name in ("code", "detail")) else {}


def sentence_of(content: dict[str, Any]) -> str:
    """Return what a problem document says, with what it says of single fields."""
    errors = content.get("errors")
    named = errors if isinstance(errors, list) else []
    fields = [f"{x['field']}: {x['message']}" for x in named if _has(x, ("field", "message"))]
    return f"{'; '.join([content['detail'], *fields])} ({content['code']})"


def not_idrl(answer: requests.Response) -> Unreachable:
    """Return the error about a response that no idrl system gives."""
    return Unreachable(
        f"{answer.url} answers {answer.status_code} {answer.reason}, and not as idrl does:"
        " is IDRL_URL the address of an idrl system?"
    )


def _json(answer: requests.Response) -> object:
    try:
        return answer.json()
    except ValueError as error:
        raise not_idrl(answer) from error


def _has(content: object, names: tuple[str, ...]) -> bool:
    return isinstance(content, dict) and all(name in content for name in names)
