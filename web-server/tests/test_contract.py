"""The app and the description of the API say the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from web_server.app import PROBLEMS

if TYPE_CHECKING:
    from conftest import MakeApp

CONTRACT = yaml.safe_load((Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text("utf-8"))
METHODS = {"get", "post", "put", "patch", "delete"}
PASSED_ON = re.compile("/(tasks(?!/{task_id}/links$)|batches|uploads|brands|webhooks|usage|status)")
OPERATIONS = {
    (method.upper(), path)
    for path, item in CONTRACT["paths"].items()
    for method in item
    if method in METHODS
}


def test_the_contract_is_served(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json == CONTRACT
    validate(answer.json)


def test_no_call_waits_for_the_contract_to_be_read(make_app: "MakeApp", tmp_path: Path) -> None:
    """It takes a second of processor time, and many where the machine is busy."""
    path = tmp_path / "openapi.yaml"
    path.write_text("openapi: 3.1.0\n", "utf-8")
    client = make_app(openapi_path=path).test_client()
    path.unlink()
    assert client.get("/openapi.json").json == {"openapi": "3.1.0"}


def test_every_route_is_in_the_contract(app: Flask) -> None:
    own = [
        rule
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(("gateway.", "page.", "swagger_ui."))
    ]
    routes = {
        (method, re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule))
        for rule in own
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    assert routes == {(method, path) for method, path in OPERATIONS if not PASSED_ON.match(path)}


def test_every_code_of_a_response_is_documented() -> None:
    written = set(re.findall(r"\w+", str(CONTRACT)))
    codes = {answer[1] for answer in PROBLEMS.values() if isinstance(answer, tuple)}
    assert codes
    assert codes <= written


@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_every_call_of_the_contract_has_a_route(app: Flask, method: str, path: str) -> None:
    endpoint, _ = app.url_map.bind("localhost").match(path.replace("{number}", "0"), method)
    assert endpoint.startswith("gateway.") == bool(PASSED_ON.match(path))


def objects(node: object) -> Iterator[dict[str, Any]]:
    """Yield every object of the document, the node itself first."""
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from objects(child)


def test_optional_parameters_have_no_example() -> None:
    """Swagger UI sends the example of a parameter, as if the reader had typed it."""
    parameters = [each for each in objects(CONTRACT) if "in" in each and "name" in each]
    optional = [each for each in parameters if not each.get("required")]
    assert len(optional) >= 7
    for parameter in optional:
        for node in objects(parameter):
            assert not {"example", "examples"} & node.keys(), parameter["name"]


def test_generators_understand_every_schema() -> None:
    """Generated clients ignore siblings of a $ref, and do not support `const`."""
    for node in objects(CONTRACT):
        if isinstance(node.get("$ref"), str):
            assert len(node) == 1, node
        assert "const" not in node
        if isinstance(node.get("enum"), list):
            assert "type" in node, node


def test_bodies_of_errors_have_names() -> None:
    for node in objects(CONTRACT):
        if "application/problem+json" in node:
            assert list(node["application/problem+json"]["schema"]) == ["$ref"]


def test_clips_are_binary() -> None:
    clips = [node["video/mp4"] for node in objects(CONTRACT) if "video/mp4" in node]
    assert clips == [{"schema": {"type": "string", "format": "binary"}}] * 4


@pytest.mark.parametrize("address", ["/docs", "/docs/"])
def test_the_contract_can_be_read_by_people(client: FlaskClient, address: str) -> None:
    """The page and all that it loads come from here: it works where nothing else can be reached."""
    page = client.get(address)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert '"url": "/openapi.json"' in page.text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 4
    for part in loaded:
        assert part.startswith("/docs/")
        assert client.get(part).status_code == 200


def test_unknown_docs_file_is_404(client: FlaskClient) -> None:
    answer = client.get("/docs/nothing.js")
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
