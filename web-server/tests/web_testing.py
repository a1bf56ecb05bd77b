"""What several tests of the web server look for."""

from werkzeug.test import TestResponse

CLIP = "/tasks/0b8f2f0e-6c1d-4c0a-9f57-3d1c5f6a7b88/parts/0"


def assert_problem(answer: TestResponse, status: int, code: str) -> None:
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert answer.json is not None
    assert (answer.json["code"], answer.json["request_id"]) == (
        code,
        answer.headers["X-Request-Id"],
    )
