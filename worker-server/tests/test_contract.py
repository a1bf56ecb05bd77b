"""The routes are those of the document, both ways."""

import re
from pathlib import Path

import yaml
from flask import Flask

from worker_server.app import PROBLEMS

_CALLS = (
    "/tasks",
    "/batches",
    "/uploads",
    "/brands",
    "/webhooks",
    "/usage",
    "/status",
    "/health",
    "/ready",
    "/metrics",
)
_SOURCES = (Path(__file__).parents[1] / "src", Path(__file__).parents[2] / "common" / "src")
_RAISED = re.compile(r'Problem\(\s*[0-9]{3},\s*"([a-z_]+)"')
_OF_THE_WEB_APP = ("/tasks/{task_id}/links",)
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"


def test_the_tasks_calls_are_the_documented_ones(app: Flask) -> None:
    document = yaml.safe_load(DOCUMENT.read_text())
    methods = {"get", "post", "put", "patch", "delete"}
    written = {
        (re.sub(r"{\w+}", "{}", path), method.upper())
        for path, operations in document["paths"].items()
        for method in operations.keys() & methods
        if path.startswith(_CALLS) and path not in _OF_THE_WEB_APP
    }
    served = {
        (re.sub(r"<[^>]+>", "{}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == written


def test_every_code_of_a_response_is_documented() -> None:
    written = set(re.findall(r"\w+", DOCUMENT.read_text()))
    codes = {answer[1] for answer in PROBLEMS.values() if isinstance(answer, tuple)}
    assert codes
    assert codes <= written


def test_every_code_that_is_raised_is_documented() -> None:
    sources = [path.read_text() for folder in _SOURCES for path in folder.rglob("*.py")]
    codes = {code for text in sources for code in _RAISED.findall(text)}
    assert len(codes) > 15
    assert codes <= set(re.findall(r"\w+", DOCUMENT.read_text()))
