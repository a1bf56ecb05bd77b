"""Checks every response against docs/openapi.yaml: status, headers, media type and body."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from requests import Response

PROBLEM = "application/problem+json"
METHODS = ("get", "post", "put", "patch", "delete")
_BASE = "urn:idrl:openapi"
_ANY_CALL = "#/x-responses-of-any-call"
# What HTTP itself needs, and what nginx adds to every answer. `Tus-Resumable` is in every answer to
# an upload, also in those that are documented once for all calls.
_ANY_HEADER = frozenset(
    {"server", "date", "connection", "keep-alive", "transfer-encoding", "content-type"}
    | {"content-length", "cache-control", "x-request-id", "x-content-type-options"}
    | {"referrer-policy", "content-security-policy", "strict-transport-security", "tus-resumable"}
)


class ContractBroken(AssertionError):
    """An answer that the document does not allow."""


class Contract:
    """The document, and which of the answers it lists were seen."""

    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_BASE, resource)
        self._resolver = self._registry.resolver(_BASE)
        self.seen: set[tuple[str, str, int]] = set()

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield path template, method and operation of every call."""
        for template, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield template, method, item[method]

    def check(self, response: Response) -> None:
        """Raise ContractBroken unless the answer is one that the document lists for this call."""
        pointer, declared = self._declared(response)
        self._check_headers(response, declared.get("headers", {}))
        self._check_body(response, pointer, declared.get("content", {}))
        if (
            response.status_code >= 400
            and response.headers["Content-Type"] == PROBLEM
            and response.content
        ):
            _check_problem(response)

    def validate(self, pointer: str, value: object, what: str) -> None:
        """Raise ContractBroken unless `value` fits the schema at `pointer`."""
        schema = {"$ref": _BASE + _quote(pointer)}
        validator = Draft202012Validator(
            schema, registry=self._registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
        if wrong:
            raise ContractBroken(f"{what}: {'; '.join(wrong)}")

    def _declared(self, response: Response) -> tuple[str, dict[str, Any]]:
        method, status = _method(response), response.status_code
        template = self._template(_path(response))
        operation = self.document["paths"].get(template, {}).get(method, {"responses": {}})
        if str(status) in operation["responses"]:
            self.seen.add((str(template), method, status))
            return self._follow(f"#/paths/{_escape(str(template))}/{method}/responses/{status}")
        if str(status) in self.document["x-responses-of-any-call"]:
            return self._follow(f"{_ANY_CALL}/{status}")
        raise ContractBroken(
            f"{_name(response)}: not in the document; body {response.text[:500]!r}"
        )

    def _follow(self, pointer: str) -> tuple[str, dict[str, Any]]:
        node: dict[str, Any] = self._resolver.lookup(_quote(pointer)).contents
        return self._follow(node["$ref"]) if "$ref" in node else (pointer, node)

    def _template(self, path: str) -> str | None:
        # A literal path before one with placeholders, as OpenAPI wants it.
        for template in sorted(self.document["paths"], key=lambda each: each.count("{")):
            pattern = re.sub(r"\{\w+\}", "[^/]+", template.replace(".", r"\."))
            if re.fullmatch(pattern, path):
                return str(template)
        return None

    def _check_headers(self, response: Response, declared: dict[str, Any]) -> None:
        for name, header in declared.items():
            pointer, definition = self._follow(header["$ref"])
            if name in response.headers:
                self.validate(
                    f"{pointer}/schema", response.headers[name], f"{_name(response)}: header {name}"
                )
            elif definition.get("required"):
                raise ContractBroken(f"{_name(response)}: no header {name}")
        others = {name.lower() for name in response.headers} - {name.lower() for name in declared}
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if (undocumented := others - _ANY_HEADER) and not is_page:
            raise ContractBroken(f"{_name(response)}: headers {sorted(undocumented)}")

    def _check_body(self, response: Response, pointer: str, content: dict[str, Any]) -> None:
        if not content or _method(response, head_is_get=False) == "head":
            if response.content:
                raise ContractBroken(f"{_name(response)}: a body where there must be none")
            return
        media_type = response.headers.get("Content-Type", "").partition(";")[0]
        if media_type not in content:
            raise ContractBroken(
                f"{_name(response)}: {media_type!r}; the document has {sorted(content)}"
            )
        schema = content[media_type].get("schema", {})
        if schema and schema.get("format") != "binary":
            value = response.json() if media_type.endswith("json") else response.text
            self.validate(f"{pointer}/content/{_escape(media_type)}/schema", value, _name(response))


def _check_problem(response: Response) -> None:
    """Check what a schema cannot say: a problem's parts agree with each other and the answer."""
    problem = response.json()
    expected = {
        "status": response.status_code,
        "type": f"urn:idrl:problem:{problem['code']}",
        "request_id": response.headers["X-Request-Id"],
    }
    actual = {name: problem[name] for name in expected}
    if actual != expected:
        raise ContractBroken(f"{_name(response)}: {actual} instead of {expected}")


def _method(response: Response, *, head_is_get: bool = True) -> str:
    method = (response.request.method or "").lower()
    return "get" if method == "head" and head_is_get else method


def _path(response: Response) -> str:
    return re.sub("/+", "/", urlsplit(response.request.url or "").path)


def _name(response: Response) -> str:
    return f"{response.request.method} {_path(response)} → {response.status_code}"


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _quote(pointer: str) -> str:
    return pointer.replace("{", "%7B").replace("}", "%7D")
