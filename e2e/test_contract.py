"""The document itself, and the endpoints for operators."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from blackbox.client import Api
from blackbox.contract import PROBLEM, Contract
from openapi_spec_validator import validate

OPERATIONS = {
    "signup",
    "login",
    "refreshToken",
    "logout",
    "changePassword",
    "getAccount",
    "changeAccount",
    "deleteAccount",
    "listKeys",
    "createKey",
    "deleteKey",
    "createTask",
    "listTasks",
    "getTask",
    "downloadPart",
    "getPoster",
    "getContactSheet",
    "createLink",
    "getShared",
    "downloadSharedPart",
    "getSharedPoster",
    "getSharedContactSheet",
    "downloadSharedClips",
    "downloadClipsOfTasks",
    "getSharedManifest",
    "deleteTask",
    "changeTask",
    "retryTask",
    "startTask",
    "createWebhook",
    "listWebhooks",
    "getCallbackSecret",
    "replaceCallbackSecret",
    "deleteCallbackSecret",
    "getWebhook",
    "deleteWebhook",
    "testWebhook",
    "listDeliveries",
    "resendDelivery",
    "createBatch",
    "createBrand",
    "listBrands",
    "getBrand",
    "getBrandPreview",
    "deleteBrand",
    "getDefaultBrand",
    "setDefaultBrand",
    "listUploads",
    "createUpload",
    "appendToUpload",
    "deleteUpload",
    "listBatches",
    "getBatch",
    "deleteBatch",
    "listEvents",
    "getManifest",
    "downloadClips",
    "downloadBatchClips",
    "getUsage",
    "getStatus",
    "pauseWork",
    "resumeWork",
    "health",
    "ready",
    "metrics",
    "openapi",
}
COLLECTION = Path(__file__).parent.parent / "postman_collection.json"
POSTMAN = [
    ("Sign up", "POST", "/auth/signup"),
    ("Log in", "POST", "/auth/login"),
    ("Create task", "POST", "/tasks"),
    ("List tasks", "GET", "/tasks"),
    ("Get task", "GET", "/tasks/{task_id}"),
    ("Download a part", "GET", "/tasks/{task_id}/parts/{number}"),
    ("Delete task", "DELETE", "/tasks/{task_id}"),
]


def test_document_is_valid_openapi(contract: Contract) -> None:
    validate(contract.document)


def test_document_names_every_call(contract: Contract) -> None:
    assert {operation["operationId"] for _, _, operation in contract.operations()} == OPERATIONS


def test_examples_fit_their_schemas(contract: Contract) -> None:
    checked = 0
    for template, method, operation in contract.operations():
        path = f"#/paths/{template.replace('/', '~1')}/{method}"
        contents = {f"{path}/requestBody": operation.get("requestBody", {})}
        contents |= {
            f"{path}/responses/{status}": each for status, each in operation["responses"].items()
        }
        for pointer, owner in contents.items():
            checked += check_examples(contract, pointer, owner)
    for name, response in contract.document["components"]["responses"].items():
        checked += check_examples(contract, f"#/components/responses/{name}", response)
    assert checked > 20


def check_examples(
    contract: Contract, pointer: str, owner: dict[str, dict[str, dict[str, object]]]
) -> int:
    checked = 0
    for media_type, content in owner.get("content", {}).items():
        values = [content["example"]] if "example" in content else []
        for example in content.get("examples", {}).values():  # type: ignore[attr-defined] # JSON
            name = example.get("$ref", "").rpartition("/")[2]
            values.append(
                (contract.document["components"]["examples"][name] if name else example)["value"]
            )
        for value in values:
            contract.validate(
                f"{pointer}/content/{media_type.replace('/', '~1')}/schema", value, pointer
            )
        checked += len(values)
    return checked


def test_every_error_is_a_problem(contract: Contract) -> None:
    for name, response in contract.document["components"]["responses"].items():
        assert list(response["content"]) == [PROBLEM], name
        assert "X-Request-Id" in response["headers"], name


def test_system_serves_the_document(anonymous: Api, contract: Contract) -> None:
    assert anonymous.get("/openapi.json").json() == contract.document


def test_health(anonymous: Api) -> None:
    assert anonymous.get("/health").json()["status"] == "ok"


def test_ready(anonymous: Api) -> None:
    # READY_STATUS: a system whose operators let decoders run without a sandbox is degraded.
    status = os.environ.get("READY_STATUS", "ready")
    assert anonymous.get("/ready").json()["status"] == status


def test_metrics(anonymous: Api) -> None:
    """For Prometheus inside; outside there is nothing."""
    response = anonymous.call("GET", "/metrics")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/health", "/ready", "/openapi.json"])
def test_head_is_get_without_the_body(anonymous: Api, path: str) -> None:
    response = anonymous.call("HEAD", path)
    assert response.status_code == 200
    assert response.content == b""


def test_request_id_that_could_do_harm_is_replaced(anonymous: Api) -> None:
    anonymous.get("/health", headers={"X-Request-Id": 'x"} injected'}, is_echoed=False)


def test_postman_collection_makes_the_calls_in_order(contract: Contract) -> None:
    collection = json.loads(COLLECTION.read_text(encoding="utf-8"))
    calls, folders = collection["item"][: len(POSTMAN)], collection["item"][len(POSTMAN) :]
    assert [item["name"] for item in calls] == [name for name, _, _ in POSTMAN]
    made = [postman_call(contract, item) for item in calls]
    assert made == [(method, template) for _, method, template in POSTMAN]
    for folder in folders:
        for item in folder["item"]:
            postman_call(contract, item)


def test_postman_collection_makes_every_call_that_callers_may(contract: Contract) -> None:
    collection = json.loads(COLLECTION.read_text(encoding="utf-8"))
    items = [each for item in collection["item"] for each in item.get("item", [item])]
    made = {postman_call(contract, item) for item in items}
    documented = {
        (method.upper(), template)
        for template, method, operation in contract.operations()
        if "status" not in operation["tags"]
    }
    assert documented <= made


def postman_call(contract: Contract, item: dict[str, Any]) -> tuple[str, str]:
    """Return method and path template of a documented call that is tested."""
    placeholders = {
        "{{task_id}}": "{task_id}",
        "{{other_task_id}}": "{task_id}",
        "{{part_number}}": "{number}",
        "{{key_id}}": "{key_id}",
        "{{batch_id}}": "{batch_id}",
        "{{upload_id}}": "{upload_id}",
        "{{brand_id}}": "{brand_id}",
        "{{webhook_id}}": "{webhook_id}",
        "{{delivery_id}}": "{delivery_id}",
        "{{share_token}}": "{token}",
    }
    words = [placeholders.get(part, part) for part in item["request"]["url"]["path"]]
    call = (item["request"]["method"], "/" + "/".join(words))
    assert call in {(method.upper(), template) for template, method, _ in contract.operations()}
    assert any("pm.test(" in line for line in item["event"][-1]["script"]["exec"])
    return call
