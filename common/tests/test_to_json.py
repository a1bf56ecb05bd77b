"""Lines of Redis, nginx and PostgreSQL become JSON by common/to_json.sed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "to_json.sed"


def converted(*lines: bytes) -> list[dict[str, Any]]:
    command = ["sed", "--unbuffered", "-E", "-f", str(SCRIPT), "-e", "s/@SERVICE@/sample/"]
    text = b"".join(line + b"\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, check=True, env={"LC_ALL": "C"})
    return [json.loads(line) for line in done.stdout.decode(errors="replace").splitlines()]


def test_lines_of_each_server_have_time_level_and_message() -> None:
    redis, quiet, nginx, notice, postgres = converted(
        b'11837:M 27 Nov 2026 06:43:25.206 # WARNING "overcommit" must be \\ enabled',
        b"1:C 01 Mar 2026 00:00:00.000 - Accepted 127.0.0.1:5",
        b"2026/11/27 06:43:26 [error] 12#12: *3 connect() failed (111: refused)",
        b"2026/11/27 06:43:27 [notice] 12#12: signal 3 (SIGQUIT) received",
        b"2026-11-27 06:43:28.172 UTC [118] FATAL:  the database system is starting up",
    )
    assert redis == {
        "time": "2026-11-27T06:43:25.206Z",
        "level": "WARNING",
        "service": "sample",
        "pid": 11837,
        "message": 'WARNING "overcommit" must be \\ enabled',
    }
    assert (quiet["time"], quiet["level"]) == ("2026-03-01T00:00:00.000Z", "DEBUG")
    assert (nginx["time"], nginx["level"]) == ("2026-11-27T06:43:26Z", "ERROR")
    assert nginx["message"] == "*3 connect() failed (111: refused)"
    assert notice["level"] == "INFO"
    assert (postgres["time"], postgres["level"]) == ("2026-11-27T06:43:28.172Z", "CRITICAL")


def test_other_lines_stay_whole_and_empty_ones_go() -> None:
    assert converted(b"", b"nginx: [emerg] \xff \t tab", b"  ") == [
        {
            "level": "INFO",
            "service": "sample",
            "message": "nginx: [emerg] � \t tab".replace("\t", " "),
        }
    ]


def test_no_query_of_a_request_is_logged() -> None:
    [line] = converted(
        b'2026/11/27 06:43:26 [error] 1#1: *3 refused, request: "GET /tasks?key=s3cret HTTP/1.1",'
        b' upstream: "http://127.0.0.1:5/tasks?key=s3cret", host: "a", referrer: "http://b/?s3cret"'
    )
    assert "s3cret" not in line["message"]
    assert 'request: "GET /tasks HTTP/1.1"' in line["message"]
    assert 'host: "a"' in line["message"]


TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"


@pytest.mark.parametrize("token", [TOKEN, TOKEN.replace(".", "%2E"), TOKEN[:30]])
def test_no_token_of_a_share_link_is_logged(token: str) -> None:
    [line] = converted(
        f'2026/11/27 06:43:26 [error] 1#1: *3 refused, request: "GET /s/{token}/parts/0 HTTP/1.1",'
        f' upstream: "http://127.0.0.1:5/s/{token}", referrer: "http://b/s/{token}"'.encode()
    )
    assert "eyJ" not in line["message"]
    assert 'request: "GET /s/-/parts/0 HTTP/1.1"' in line["message"]
