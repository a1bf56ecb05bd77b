"""The app as it is deployed: gunicorn, threads, a log."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
import requests

from idrl_testing.database import Database
from idrl_testing.processes import child_pids

if TYPE_CHECKING:
    from conftest import Exchange, Served, TasksStandIn

PASSWORD = "Canary-passw0rd"


def body(username: str = "ada", email: str = "ada@example.com") -> dict[str, str]:
    return {"username": username, "email": email, "password": PASSWORD, "password_2": PASSWORD}


def bearer(served: Served) -> dict[str, str]:
    requests.post(f"{served.url}/auth/signup", json=body(), timeout=60)
    credentials = {"email": "ada@example.com", "password": PASSWORD}
    token = requests.post(f"{served.url}/auth/login", json=credentials, timeout=60).json()["token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("same", ["email", "username"])
def test_a_thousand_signups_at_once_make_one_account(
    served: Served, database: Database, same: str
) -> None:
    def signup(number: int) -> tuple[int, str]:
        while (answer := attempt(number))[0] == 503:
            assert answer[1] == "too_busy"
        return answer

    def attempt(number: int) -> tuple[int, str]:
        # Every letter in either case: the same mailbox in practice.
        mixed = "".join(c.upper() if number >> i & 1 else c for i, c in enumerate("adalovelace"))
        changed = (
            (f"user{number}", f"{mixed}@example.com")
            if same == "email"
            else (mixed, f"u{number}@example.com")
        )
        answer = requests.post(f"{served.url}/auth/signup", json=body(*changed), timeout=60)
        return answer.status_code, answer.json().get("code", "")

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(signup, range(1000)))
    assert sorted(set(answers)) == [(201, ""), (409, f"{same}_taken")]
    assert answers.count((201, "")) == 1
    assert database.execute("SELECT count(*) FROM users") == [(1,)]


def test_repeated_slashes_are_collapsed(served: Served, tasks: TasksStandIn) -> None:
    answer = requests.delete(
        f"{served.url}//tasks//42", headers=bearer(served), timeout=60, allow_redirects=False
    )
    assert answer.status_code == 200
    assert [(seen.method, seen.target) for seen in tasks.seen] == [("DELETE", "/tasks/42")]


def answer_to(served: Served, request: bytes) -> bytes:
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(partial(connection.recv, 65536), b""))


def test_letters_that_are_not_encoded_are_taken_for_utf_8(
    served: Served, tasks: TasksStandIn
) -> None:
    """As curl sends a query that was typed with accents."""
    head = f"Host: a\r\nAuthorization: {bearer(served)['Authorization']}\r\nConnection: close"
    accepted, refused = (
        ("/tasks?q=canción", "/tasks?q=日本&max=1"),
        ("/tasks?q=\x01", "/ó?q=1", "/\x7f"),
    )
    for target in (*accepted, *refused):
        answer = answer_to(served, f"GET {target} HTTP/1.1\r\n{head}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200" if target in accepted else b"HTTP/1.1 400")
    seen = [each.target for each in tasks.seen]
    assert seen == ["/tasks?q=canci%C3%B3n", "/tasks?q=%E6%97%A5%E6%9C%AC&max=1"]


@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n"])
def test_malformed_chunks_are_the_callers_mistake(served: Served, body: bytes) -> None:
    head = b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = answer_to(served, head + body)
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "bad_request"
    assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize(
    "of_another_proxy",
    [{"X-Forwarded-Ssl": "on"}, {"X-Forwarded-Protocol": "ssl"}, {"Script_Name": "/x"}],
    ids=str,
)
def test_headers_of_a_proxy_before_nginx_are_no_error(
    served: Served, of_another_proxy: dict[str, str]
) -> None:
    headers = {"X-Forwarded-Proto": "http", **of_another_proxy}
    assert requests.get(f"{served.url}/health", headers=headers, timeout=30).status_code == 200


def test_a_chunked_body_over_256_kib_is_refused(served: Served, tasks: TasksStandIn) -> None:
    headers = {**bearer(served), "Content-Type": "application/json"}
    chunks = (b" " * 1024 for _ in range(257))
    answer = requests.post(f"{served.url}/tasks", headers=headers, data=chunks, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert tasks.seen == []


def test_large_body_that_is_refused_unread_breaks_no_connection(served: Served) -> None:
    """A reset would reach callers as 503, and break the next call that nginx sends there."""
    refusals = {
        "/auth/login": (413, "body_too_large"),
        "/tasks": (401, "token_missing"),
        "/nowhere": (404, "not_found"),
    }
    with requests.Session() as session:
        session.headers["Content-Type"] = "application/json"
        for path in [*refusals] * 3:
            answer = session.post(f"{served.url}{path}", data=b"x" * 1024 * 1024, timeout=60)
            assert (answer.status_code, answer.json()["code"]) == refusals[path]


def test_longest_request_that_nginx_accepts_reaches_the_app(served: Served) -> None:
    answer = requests.get(f"{served.url}/nowhere?{'x' * 8160}", timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    many = {f"X-{number}": "x" for number in range(1000)} | {"X-Long": "x" * 8100}
    answer = requests.get(f"{served.url}/nowhere", headers=many, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_clip_is_not_buffered(served: Served, tasks: TasksStandIn) -> None:
    size_bytes = 96 * 1024 * 1024

    def clip(exchange: Exchange) -> None:
        exchange.respond(200, b"x" * size_bytes, {"Content-Type": "video/mp4"})

    tasks.answer = clip
    headers = bearer(served)
    before = peak_memory_bytes(served.pid)
    with requests.get(
        f"{served.url}/tasks/1/parts/0", headers=headers, stream=True, timeout=60
    ) as answer:
        received = sum(len(chunk) for chunk in answer.iter_content(1 << 20))
    assert received == size_bytes
    assert peak_memory_bytes(served.pid) - before < 16 * 1024 * 1024


def test_truncated_clip_closes_the_connection(served: Served, tasks: TasksStandIn) -> None:
    def half(exchange: Exchange) -> None:
        exchange.respond(200, b"x" * 1000, {"Content-Type": "video/mp4", "Content-Length": "2000"})
        exchange.hang_up()

    tasks.answer = half
    url = f"{served.url}/tasks/1/parts/0?canary-in-a-query"
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        requests.get(url, headers=bearer(served), timeout=60)
    log = served.log.read_text()
    assert "the tasks service ended a response before its end" in log
    assert "Traceback" not in log
    assert "canary-in-a-query" not in log


def peak_memory_bytes(parent: int) -> int:
    """Return the highest peak among the server's worker processes."""
    status = [Path(f"/proc/{child}/status").read_text() for child in child_pids(parent)]
    return max(int(text.partition("VmHWM:")[2].split()[0]) for text in status) * 1024


def test_the_log_is_json_and_holds_no_secret(served: Served, tasks: TasksStandIn) -> None:
    headers = bearer(served)
    secrets = [
        PASSWORD,
        headers["Authorization"].split()[1],
        "canary-in-a-query",
        "canary-in-a-body",
        "$argon2",
    ]
    requests.post(
        f"{served.url}/auth/login",
        json={"email": "ada@example.com", "password": "canary-in-a-body"},
        timeout=60,
    )
    requests.post(f"{served.url}/auth/signup", data='{"password": "canary-in-a-body",}', timeout=60)
    requests.get(f"{served.url}/tasks?secret=canary-in-a-query", headers=headers, timeout=60)
    requests.get(
        f"{served.url}/tasks", headers={"Authorization": "Bearer canary-in-a-query"}, timeout=60
    )
    tasks.answer = lambda exchange: exchange.hang_up()
    requests.get(f"{served.url}/tasks?secret=canary-in-a-query", headers=headers, timeout=60)
    log = served.log.read_text()
    assert [secret for secret in secrets if secret in log] == []
    lines = [json.loads(line) for line in log.splitlines()]
    calls = [
        (line["method"], line["path"], line["status"])
        for line in lines
        if line["logger"] == "access"
    ]
    assert calls == [
        ("POST", "/auth/signup", 201),
        ("POST", "/auth/login", 200),
        ("POST", "/auth/login", 401),
        ("POST", "/auth/signup", 415),
        ("GET", "/tasks", 200),
        ("GET", "/tasks", 401),
        ("GET", "/tasks", 502),
    ]
    assert all(
        line["service"] == "web" and line["request_id"]
        for line in lines
        if line["logger"] == "access"
    )


def postgres_log(database: Database) -> Path:
    """Return the log of the test run's PostgreSQL; it lies beside the data."""
    ((folder,),) = database.execute("SHOW data_directory")
    return Path(str(folder)).with_name("postgres.log")


def test_parallel_sign_ups_leave_no_email_or_hash_in_the_log_of_postgresql(
    served: Served, database: Database
) -> None:
    def signup(number: int) -> int:
        canary = body(f"user{number}", "canary-of-an-email@example.com")
        return requests.post(f"{served.url}/auth/signup", json=canary, timeout=60).status_code

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(signup, range(10)))
    assert sorted(answers) == [201, *[409] * 9]
    log = postgres_log(database).read_text()
    assert "canary-of-an-email" not in log
    assert "$argon2id" not in log


@pytest.mark.parametrize("role", ["web", "worker"])
def test_log_of_postgresql_has_no_statements_of_the_apps(database: Database, role: str) -> None:
    connection = psycopg2.connect(
        host=database.host,
        port=database.port,
        dbname=database.name,
        user=role,
        password=database.password,
    )
    with connection.cursor() as cursor, pytest.raises(psycopg2.errors.DivisionByZero):
        cursor.execute("SELECT %s, 1 / 0", ("canary-of-a-statement",))
    connection.close()
    log = postgres_log(database).read_text()
    assert "division by zero" in log
    assert "canary-of-a-statement" not in log
