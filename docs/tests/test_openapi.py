"""The contract is complete: every error lists its codes."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = Path(__file__).parents[1] / "openapi.yaml"
BASE = "urn:idrl:openapi"
PROBLEM = "application/problem+json"


@cache
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(DOCUMENT.read_text(), yaml.CSafeLoader)
    return loaded


@cache
def validator() -> Draft202012Validator:
    resource = Resource.from_contents(document(), default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(BASE, resource)
    checker = Draft202012Validator.FORMAT_CHECKER
    return Draft202012Validator({}, registry=registry, format_checker=checker)


def problems() -> list[str]:
    """Return the names of the shared responses that are problems."""
    responses = document()["components"]["responses"]
    return [name for name, each in responses.items() if PROBLEM in each.get("content", {})]


@pytest.mark.parametrize("name", problems())
def test_problem_lists_its_codes(name: str) -> None:
    """A generated client, and the tests of the contract, know them by the schema alone."""
    schema = f"{BASE}#/components/responses/{name}/content/application~1problem+json/schema"
    sample = {
        "type": "urn:idrl:problem:of_no_call",
        "title": "A",
        "status": 400,
        "detail": "B.",
        "code": "of_no_call",
        "request_id": "00000000",
    }
    errors = validator().evolve(schema={"$ref": schema}).iter_errors(sample)
    assert [error.json_path for error in errors] == ["$.code"]
