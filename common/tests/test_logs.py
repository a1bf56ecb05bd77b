"""Log lines are JSON, each with the ids it belongs to, and hold nothing that callers sent."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO

import pytest
from flask import Flask, g

from idrl_common import logs, request_ids
from idrl_common.problems import Problem
from idrl_common.token_verifier import Identity

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Log:
    """Captures the lines that are logged after `configure`."""

    def __init__(self) -> None:
        self._stream = StringIO()

    def configure(self, level: str = "INFO") -> None:
        with redirect_stderr(self._stream):
            logs.configure("sample", level)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    """A configured log; what pytest and other tests have configured comes back afterwards."""
    root, urllib3 = logging.getLogger(), logging.getLogger("urllib3")
    before = (root.handlers[:], root.level, urllib3.level)
    request_ids.request_id.set(None)
    request_ids.task_id.set(None)
    request_ids.traceparent.set(None)
    log = Log()
    log.configure()
    yield log
    logging.captureWarnings(False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    urllib3.setLevel(before[2])


def test_a_line_is_one_object(log: Log) -> None:
    logging.getLogger("some.module").warning("two\nlines %s", "é", extra={"part": 3})
    [line] = log.lines()
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "some.module",
        "message": "two\nlines é",
        "service": "sample",
        "request_id": None,
        "task_id": None,
        "part": 3,
    }


def test_invalid_unicode_is_logged(log: Log) -> None:
    logging.getLogger("some.module").warning("odd \udcff", extra={"value": {1, 2}})
    [line] = log.lines()
    assert (line["message"], line["value"]) == ("odd \udcff", "{1, 2}")


def test_configuring_twice_logs_once(log: Log) -> None:
    log.configure()
    logging.getLogger("some.module").info("once")
    assert len(log.lines()) == 1


def test_debug_is_left_out_unless_requested(log: Log) -> None:
    logging.getLogger("some.module").debug("left out")
    log.configure("DEBUG")
    logging.getLogger("some.module").debug("requested")
    assert [line["message"] for line in log.lines()] == ["requested"]


def test_traceback_is_in_the_same_line(log: Log) -> None:
    try:
        int("reason")
    except ValueError:
        logging.getLogger("some.module").exception("it failed")
    [line] = log.lines()
    assert "ValueError: invalid literal" in str(line["exc_info"])


def test_python_warning_is_logged(log: Log) -> None:
    with warnings.catch_warnings(action="always"):
        logging.captureWarnings(False)  # pytest catches warnings too, so ours must come after it
        log.configure()
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    [line] = log.lines()
    assert line["logger"] == "py.warnings"
    assert "this is old" in str(line["message"])


def test_a_line_knows_its_task(log: Log) -> None:
    token = request_ids.task_id.set("from-context")
    try:
        logging.getLogger("some.module").info("one")
        logging.getLogger("some.module").info("two", extra={"task_id": "from-call"})
    finally:
        request_ids.task_id.reset(token)
    assert [line["task_id"] for line in log.lines()] == ["from-context", "from-call"]


def test_libraries_log_no_url(log: Log) -> None:
    log.configure("DEBUG")
    logging.getLogger("urllib3.connectionpool").debug("GET /?token=secret")
    logging.getLogger("urllib3.connectionpool").warning("Retrying: /?token=secret")
    assert log.lines() == []


def test_an_access_line_has_no_query_header_or_body(app: Flask, log: Log) -> None:
    @app.post("/things/<name>")
    def make(name: str) -> str:
        logging.getLogger("some.module").info("made %s", name)
        return ""

    headers = {
        "Authorization": "Bearer secret",
        "X-Request-Id": "caller-chose-this",
        "Cookie": "secret",
    }
    app.test_client().post("/things/a?token=secret", data="secret", headers=headers)
    log_lines = log.lines()
    assert "secret" not in json.dumps(log_lines)
    assert [(line["logger"], line["request_id"]) for line in log_lines] == [
        ("some.module", "caller-chose-this"),
        ("access", "caller-chose-this"),
    ]
    access = log_lines[1]
    assert (access["method"], access["path"], access["status"]) == ("POST", "/things/a", 200)
    assert isinstance(access["elapsed_ms"], float)
    # The formatter's shortcut for access lines keeps python-json-logger's fields and their order.
    common = ["level", "logger", "message", "request_id", "task_id", "service"]
    assert list(log_lines[0]) == [*common, "time"]
    assert list(access) == [*common, "method", "path", "status", "elapsed_ms", "time"]
    assert (access["level"], access["message"], access["service"], access["task_id"]) == (
        "INFO",
        "request",
        "sample",
        None,
    )


def test_access_lines_are_left_out_above_their_level(app: Flask, log: Log) -> None:
    log.configure("WARNING")
    assert app.test_client().get("/").status_code == 404
    assert log.lines() == []


def test_a_path_cannot_forge_a_line(app: Flask, log: Log) -> None:
    app.test_client().get('/a%0A{"level": "ERROR"}')
    [line] = log.lines()
    assert (line["path"], line["level"]) == ('/a\n{"level": "ERROR"}', "INFO")


def test_access_line_names_the_account_and_the_refusal(app: Flask, log: Log) -> None:
    @app.get("/full")
    def full() -> str:
        g.identity = Identity(7)
        raise Problem(503, "storage_full", "The storage is full.")

    app.test_client().get("/full")
    app.test_client().get("/nowhere")
    refused, unknown = log.lines()
    assert (refused["account"], refused["refusal"]) == (7, "storage_full")
    assert unknown["refusal"] == "not_found"
    assert "account" not in unknown


@pytest.mark.parametrize(
    ("given", "logged"),
    [
        (TRACE, TRACE),
        (TRACE.upper(), None),
        (TRACE.replace("00-", "ff-", 1), None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", None),
        (TRACE + '","x":"', None),
    ],
)
def test_wellformed_traceparent_is_in_every_line_of_its_request(
    app: Flask, log: Log, given: str, logged: str | None
) -> None:
    @app.get("/work")
    def work() -> str:
        logging.getLogger("work").warning("done")
        return ""

    app.test_client().get("/work", headers={"traceparent": given})
    assert [line.get("traceparent") for line in log.lines()] == [logged, logged]
    app.test_client().get("/work")  # without a traceparent
    assert "traceparent" not in log.lines()[-1]


def test_no_line_has_a_token(log: Log) -> None:
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"
    logger = logging.getLogger("some.module")
    logger.error("Exception on %s [GET]", f"/s/{token}/parts/0", extra={"header": token})
    try:
        int(f"http://127.0.0.1/s/{token}")
    except ValueError:
        logger.exception("a bug")
    first, second = log.lines()
    assert (first["message"], first["header"]) == ("Exception on /s/-/parts/0 [GET]", "-")
    assert "'http://127.0.0.1/s/-'" in str(second["exc_info"])


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("/a.eyJ/eyJb.c/eyJ.d.", "/a.eyJ/eyJb.c/-"),
        ("eyJa.eyJb.c.d, xeyJ..y", "-.d, x-"),
        ("eyJeyJ.eyJ.eyJ eyJ.eyJ", "- eyJ.eyJ"),
    ],
)
def test_tokens_are_found_between_other_text(log: Log, text: str, logged: str) -> None:
    logging.getLogger("some.module").error(text)
    assert log.lines()[0]["message"] == logged


@pytest.mark.parametrize("text", ["'eyJ' * 10**6", "'eyJ.' + 'eyJ' * 10**6"])
def test_tokens_are_found_in_linear_time(text: str) -> None:
    """A path may be 8 KiB long, and every call has a line."""
    code = f"import logging; from idrl_common import logs; logs.configure('sample'); text = {text}"
    command = [sys.executable, "-c", f"{code}; logging.error(text)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(json.loads(done.stderr)["message"]) >= 3 * 10**6
