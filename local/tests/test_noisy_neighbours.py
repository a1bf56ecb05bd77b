"""A noisy neighbour takes all it can get of the system; another user hardly notices.

The system runs with its default limits but for QUOTA_LIVE_TASKS. Each caller has an address of its
own in 127.0.0.0/8. The tests run in order: the last one deletes the noisy account.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from local_testing import (
    PASSWORD,
    Caller,
    System,
    create_one_of_each,
    database_of,
    delete_account,
    email_of,
    form,
    others_stay_fast,
    rows,
    rows_of_owner,
    wait_for_clip,
)

from idrl_local import system
from idrl_local.home import Home, free_ports
from idrl_testing import samples, site as web_site
from idrl_testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUOTA = 20
# 5,000 tasks: most of them in batches, as a caller in a hurry sends them.
SINGLE_TASKS, BATCHES, BATCH_TASKS = 1000, 8, 500
HALF_OPEN = 2500
MANY, LARGE_BYTES = 100, 32 * 1024 * 1024
DOCUMENTS = 40
MAX_BODY_BYTES = 1024 * 1024
NOISY_ADDRESS, OTHER_ADDRESS = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home, ports = Home(tmp_path_factory.mktemp("noisy")), free_ports()
    own = {"IDRL_HOME": str(home.root), "PORT": str(ports.nginx), "RENDER_CONCURRENCY": "1"}
    limits = {"FETCH_ALLOW_HOSTS": "127.0.0.1", "QUOTA_LIVE_TASKS": str(QUOTA)}
    command = [sys.executable, "-m", "idrl_local", "up"]
    try:
        started = subprocess.run(
            command,
            env={**os.environ, **own, **limits},
            check=False,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=300,
        )
        assert started.returncode == 0, started.stderr
        with web_site.serve() as site:
            yield System(home, ports.nginx, database_of(home, ports), site)
    finally:
        system.down(home)


@pytest.fixture(scope="module")
def short_video(running: System, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a source that is quickly done."""
    path = tmp_path_factory.mktemp("source") / "short.mp4"
    video = samples.encode(path, *samples.picture("320x180", 2), *samples.FAST)
    return running.site.add(path.name, video)


@pytest.fixture(scope="module")
def other(running: System) -> Caller:
    return running.sign_up("other", OTHER_ADDRESS)


@pytest.fixture(scope="module")
def noisy(running: System, short_video: str) -> Caller:
    """Has a clip already."""
    caller = running.sign_up("noisy", NOISY_ADDRESS)
    wait_for_clip(caller, short_video)
    return caller


def test_5000_tasks_of_one_user_are_refused_beyond_the_quota(
    running: System, noisy: Caller, other: Caller
) -> None:
    url = running.site.add("endless.mp4", bytes(1000), web_site.stalls_midway)
    batch = {"items": [{"url": url}] * BATCH_TASKS}

    def post() -> Counter[tuple[str, int, str]]:
        answers: Counter[tuple[str, int, str]] = Counter()
        for path, body in (
            *[("/tasks", {"url": url})] * (SINGLE_TASKS // BATCHES),
            ("/batches", batch),
        ):
            status, document = noisy.call("POST", path, body)
            answers[path, status, document.get("code", "")] += 1
        return answers

    with others_stay_fast(other), ThreadPoolExecutor(BATCHES) as pool:
        posting = [pool.submit(post) for _ in range(BATCHES)]
    answers = sum((each.result() for each in posting), Counter())
    # More tasks than the quota: no wait would let such a batch in.
    assert answers.pop(("/batches", 403, "quota_batch_too_large")) == BATCHES
    assert answers.pop(("/tasks", 202, "")) == QUOTA
    # nginx refuses the address when it is faster than API_RATE.
    refused = {("/tasks", 429, "quota_live_tasks"), ("/tasks", 429, "too_many_requests")}
    assert answers.keys() <= refused
    assert answers.total() == SINGLE_TASKS - QUOTA
    assert len(noisy.call("GET", "/tasks?max=1000")[1]) == 1 + QUOTA


def test_slow_links_of_one_user_let_anothers_video_through(
    noisy: Caller, other: Caller, short_video: str
) -> None:
    """The noisy user's downloads hold all four places (FETCH_CONCURRENCY) and never end."""

    def downloading() -> int:
        tasks = noisy.call("GET", "/tasks?max=100")[1]
        return sum(task["status"] == "downloading" for task in tasks)

    wait_until(lambda: downloading() == 4, 60)
    with others_stay_fast(other):
        wait_for_clip(other, short_video)


def test_300_guesses_from_30_addresses_leave_the_owner_in(
    running: System, noisy: Caller, other: Caller
) -> None:
    wrong = {"email": email_of("other"), "password": "Wrong-passw0rd"}

    def guess(number: int) -> Counter[int]:
        stranger = Caller(running.port, f"127.0.1.{number + 1}")
        return Counter(stranger.call("POST", "/auth/login", wrong)[0] for _ in range(10))

    with others_stay_fast(noisy), ThreadPoolExecutor(6) as pool:
        answers = sum(pool.map(guess, range(30)), Counter())
    assert set(answers) <= {401, 429, 503}
    assert 0 < answers[401] <= 60  # 50 in 15 minutes, and one more every 18 s
    other.log_in("other")


def test_10_parallel_sign_ups_of_one_email_make_one_account(running: System, other: Caller) -> None:
    def sign_up(number: int) -> int:
        caller = Caller(running.port, f"127.0.2.{number + 1}")
        return caller.call("POST", "/auth/signup", form(f"twin-{number}", email_of("twin")))[0]

    with others_stay_fast(other), ThreadPoolExecutor(10) as pool:
        answers = Counter(pool.map(sign_up, range(10)))
    assert answers == {201: 1, 409: 9}
    logs = running.logs()
    assert email_of("twin") not in logs
    assert "duplicate key" not in logs
    assert "$argon2id" not in logs


# Every table with a column for an account: the test of deletion gives the account a row in each.
OWNED = {
    *("api_keys", "batches", "brand_defaults", "brands", "callback_secrets", "parts", "tasks"),
    *("uploads", "usage_days", "webhooks"),
}
MARKS = "\u0301" * 200_000
URL = "https://example.com/v.mp4"
UNKNOWN = {str(number): 0 for number in range(100_000)}
UNKNOWN_OF_ITEM = {str(number): 0 for number in range(200)}


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("/auth/signup", form("marks", f"e{MARKS}@example.com"), 413),
        ("/auth/login", form("marks", f"e{MARKS}@example.com"), 413),
        ("/tasks", {"url": URL, "name": MARKS}, 413),
        ("/batches", {"items": [{"url": URL}], "name": MARKS}, 400),
        ("/batches", {"items": [{"url": URL + MARKS}]}, 400),
        ("/auth/signup", UNKNOWN, 413),
        ("/tasks", UNKNOWN, 413),
        ("/batches", UNKNOWN, 400),
        ("/batches", {"items": [{"url": URL, **UNKNOWN_OF_ITEM}] * 500}, 400),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_400_kb_of_marks_and_100_000_unknown_fields_are_refused_at_once(
    running: System, other: Caller, path: str, body: object, refusal: int
) -> None:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(data) < MAX_BODY_BYTES  # nginx would refuse more by itself

    def send(number: int) -> tuple[int, Any]:
        return Caller(running.port, f"127.0.3.{number + 1}", other.token).call("POST", path, data)

    with others_stay_fast(other), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert {status for status, _ in answers} == {refusal}
    # Of a batch each wrong item is named.
    assert max(len(document.get("errors", [])) for _, document in answers) <= 500
    assert max(len(json.dumps(document)) for _, document in answers) < len(data) / 10


@pytest.mark.usefixtures("many_files")
def test_half_open_connections_of_one_address_leave_others_in(
    running: System, other: Caller
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_OPEN):
            slow = socket.create_connection(
                ("127.0.0.1", running.port), timeout=30, source_address=(NOISY_ADDRESS, 0)
            )
            stack.enter_context(slow).sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with others_stay_fast(other):
            pass


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_bodies_of_refused_uploads_that_do_not_come_leave_others_in(
    running: System, noisy: Caller, other: Caller, method: str
) -> None:
    """nginx passes the bodies of uploads on as they come, also those of calls that do not exist."""
    head = f"{method} /uploads/{uuid.uuid4()} HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(MANY):
            slow = socket.create_connection(
                ("127.0.0.1", running.port), timeout=30, source_address=(NOISY_ADDRESS, 0)
            )
            authorized = f"{head}Authorization: Bearer {noisy.token}\r\n\r\n"
            stack.enter_context(slow).sendall(authorized.encode())
        with others_stay_fast(other):
            made = other.call("POST", "/uploads", b"", Tus_Resumable="1.0.0", Upload_Length="9")
            assert made[0] == 201


@pytest.mark.parametrize("kind", ["clips", "ZIPs"])
def test_slow_readers_of_one_account_leave_others_in(
    running: System, noisy: Caller, other: Caller, short_video: str, kind: str
) -> None:
    """A hundred downloads that are not read, of clips that no buffer holds, all different ones."""
    link = many_large_clips(running, noisy)
    paths = [f"{link}/parts/{number}" for number in range(MANY)]
    if kind == "ZIPs":
        paths = [f"{link}/clips.zip"] * MANY
    own = wait_for_clip(other, short_video) + ("/clips.zip" if kind == "ZIPs" else "/parts/0")
    with contextlib.ExitStack() as stack:
        for path in paths:
            slow = socket.create_connection(
                ("127.0.0.1", running.port), timeout=30, source_address=(NOISY_ADDRESS, 0)
            )
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {noisy.token}"
            stack.enter_context(slow).sendall(f"{head}\r\n\r\n".encode())
            assert slow.recv(12, socket.MSG_WAITALL) in (b"HTTP/1.1 200", b"HTTP/1.1 429")
        with others_stay_fast(other):
            began = time.monotonic()
            assert other.bytes_of(own).startswith(b"PK" if kind == "ZIPs" else b"\0\0")
            assert time.monotonic() - began < 5
    assert noisy.call("DELETE", link)[0] == 200


def test_slow_readers_of_long_documents_leave_others_in(
    running: System, noisy: Caller, other: Caller
) -> None:
    """The document of a task of 20,000 parts has six megabytes."""
    link = many_parts(running, noisy)
    head = f"GET {link} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {noisy.token}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(DOCUMENTS):
            slow = socket.create_connection(
                ("127.0.0.1", running.port), timeout=30, source_address=(NOISY_ADDRESS, 0)
            )
            stack.enter_context(slow).sendall(head.encode())
            assert slow.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        with others_stay_fast(other):
            pass
    assert noisy.call("DELETE", link)[0] == 200


def many_parts(running: System, caller: Caller) -> str:
    """Give the caller a task of as many parts as there may be, and return its link."""
    user_id, task_id = caller.call("GET", "/me")[1]["user_id"], str(uuid.uuid4())
    running.database.execute(
        "INSERT INTO tasks (id, owner_id, url, status, finished_at)"
        f" VALUES ('{task_id}', {user_id}, '', 'failed', now())"
    )
    running.database.execute(
        "INSERT INTO parts (task_id, owner_id, number, start_frame, end_frame, start_s, end_s,"
        f" status) SELECT '{task_id}', {user_id}, n, n, n + 1, n, n + 1, 'failed'"
        " FROM generate_series(0, 19999) n"
    )
    return f"/tasks/{task_id}"


def many_large_clips(running: System, caller: Caller) -> str:
    """Give the caller a task whose clips are sparse files of 32 MiB, and return its link."""
    user_id, task_id = caller.call("GET", "/me")[1]["user_id"], str(uuid.uuid4())
    folder = running.home.share / task_id
    folder.mkdir()
    for number in range(MANY):
        with (folder / f"{number}.1.mp4").open("wb") as file:
            file.truncate(LARGE_BYTES)
    shutil.chown(folder, running.home.share.stat().st_uid)
    running.database.execute(
        "INSERT INTO tasks (id, owner_id, url, status, finished_at)"
        f" VALUES ('{task_id}', {user_id}, '', 'done', now())"
    )
    running.database.execute(
        "INSERT INTO parts (task_id, owner_id, number, start_frame, end_frame, start_s, end_s,"
        " status, path, size_bytes, sha256, crc32, frames, rendered_by, attempt)"
        f" SELECT '{task_id}', {user_id}, n, n, n + 1, n, n + 1, 'done',"
        f" '{task_id}/' || n || '.1.mp4', {LARGE_BYTES}, repeat('0', 64), 0, 1, 'encode', 1"
        f" FROM generate_series(0, {MANY - 1}) n"
    )
    return f"/tasks/{task_id}"


def test_deleted_account_is_nowhere(running: System, noisy: Caller, other: Caller) -> None:
    """No row has the account or its tasks, no file but PostgreSQL's own has its email.

    The rows that PostgreSQL deletes stay in its files until it uses their space again.
    """
    status, key = noisy.call("POST", "/me/keys", {"name": "key of noisy"})
    assert status == 201
    resources = create_one_of_each(noisy)
    wrong = {"email": email_of("noisy"), "password": "Wrong-passw0rd"}
    assert noisy.call("POST", "/auth/login", wrong)[0] == 401
    user_id = noisy.call("GET", "/me")[1]["user_id"]
    tasks = [task["task_id"] for task in noisy.call("GET", "/tasks?max=1000")[1]]
    assert len(tasks) == 1 + QUOTA
    assert rows_of_owner(running, user_id) == sorted(OWNED)
    clips = [path for path in running.home.share.rglob("*.mp4") if set(tasks) & set(path.parts)]
    assert clips, "the layout of the share is another one than this test expects"

    wait_until(lambda: delete_account(noisy, "noisy"), 180)
    # The sweeper carries out the removals of the files, and deletes their rows.
    wait_until(lambda: not any(task in rows(running)["removals"] for task in tasks), 60)
    hashed_email = hashlib.sha256(email_of("noisy").encode()).hexdigest()
    for name, text in rows(running).items():
        searched = ("noisy", hashed_email, *tasks, *(resources if name != "uploads" else ()))
        assert not [each for each in searched if each in text], name
    assert rows_of_owner(running, user_id) == []
    assert email_of("other") in rows(running)["users"]  # the search does find what is there

    paths = [str(path) for path in running.home.share.rglob("*")]
    assert not [path for path in paths if any(task in path for task in tasks)]
    # The sweeper removes the upload's file in its next round.
    wait_until(
        lambda: not any(resources[0] in str(path) for path in running.home.share.rglob("*")), 60
    )
    files = running.files()
    assert any(tasks[0].encode() in content for content in files.values())  # in logs: a bare id
    for secret in (email_of("noisy"), key["key"], "key of noisy", PASSWORD):
        assert not [path for path, content in files.items() if secret.encode() in content]
    assert other.call("GET", "/tasks")[0] == 200
