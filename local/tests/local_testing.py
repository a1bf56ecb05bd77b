"""A running system, its callers at addresses of their own, and what an account leaves in it."""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idrl_local.home import Home, Ports
from idrl_local.programs import SUPERUSER
from idrl_testing import site as web_site
from idrl_testing.database import Database
from idrl_testing.waiting import wait_until

PASSWORD = "Analytical1"
_URL = "https://example.com/v.mp4"
_BRAND = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nbrand of noisy\r\n--x--\r\n'


@dataclass
class Caller:
    """One user at an address; each call has a connection of its own."""

    port: int
    address: str
    token: str | None = None

    def call(self, method: str, path: str, body: object = None, **more: str) -> tuple[int, Any]:
        """Return status and document; `more` are headers, with `_` for `-`."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"} if data else {}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(self.address, 0)
        )
        with contextlib.closing(connection):
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text else None

    def bytes_of(self, path: str) -> bytes:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(self.address, 0)
        )
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read()

    def log_in(self, name: str) -> None:
        status, document = self.call(
            "POST", "/auth/login", {"email": email_of(name), "password": PASSWORD}
        )
        assert status == 200, document
        self.token = document["token"]


@dataclass(frozen=True)
class System:
    """A running system, and a web site that it may fetch from."""

    home: Home
    port: int
    database: Database
    site: web_site.Site

    def sign_up(self, name: str, address: str) -> Caller:
        caller = Caller(self.port, address)
        assert caller.call("POST", "/auth/signup", form(name))[0] == 201
        caller.log_in(name)
        return caller

    def files(self) -> dict[Path, bytes]:
        """Return every file of the installation but those of PostgreSQL's tables."""
        tables = self.home.data / "postgres"
        contents = {}
        for path in self.home.root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a temporary file
                if path.is_file() and not path.is_relative_to(tables):
                    contents[path] = path.read_bytes()
        return contents

    def logs(self) -> str:
        files = self.files().items()
        return "".join(
            text.decode(errors="replace")
            for path, text in files
            if path.is_relative_to(self.home.logs)
        )


def email_of(name: str) -> str:
    return f"{name}@example.com"


def form(name: str, email: str | None = None) -> dict[str, str]:
    passwords = {"password": PASSWORD, "password_2": PASSWORD}
    return {"username": name, "email": email or email_of(name), **passwords}


def database_of(home: Home, ports: Ports) -> Database:
    password = home.secrets().postgres_password
    return Database(ports.postgres, superuser=SUPERUSER, password=password)


def wait_for_clip(caller: Caller, url: str) -> str:
    """Submit the URL, wait until the task is done, and return its link."""
    status, task = caller.call("POST", "/tasks", {"url": url})
    assert status == 202
    wait_until(lambda: caller.call("GET", task["link"])[1]["status"] == "done", 120)
    link: str = task["link"]
    return link


@contextlib.contextmanager
def others_stay_fast(caller: Caller) -> Iterator[None]:
    """Make another user's calls during the block, and require that they are fast.

    90 % of them, so that a busy test machine does not fail the test.
    """
    seconds: list[float] = []
    ends: list[bool] = []

    def watch() -> None:
        while not ends or len(seconds) < 10:
            began = time.monotonic()
            assert caller.call("GET", "/tasks")[0] == 200
            seconds.append(time.monotonic() - began)
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        try:
            yield
        finally:
            ends.append(True)
        watcher.result(60)
    assert sorted(seconds)[int(0.9 * len(seconds)) - 1] < 1, sorted(seconds)[-10:]


def create_one_of_each(caller: Caller) -> list[str]:
    """Make what an account may have besides tasks, and return the ids and secrets."""
    live = [task for task in caller.call("GET", "/tasks?max=100")[1] if task["status"] == "queued"]
    assert caller.call("DELETE", live[0]["link"])[0] == 200  # the batch needs its place
    assert caller.call("DELETE", live[0]["link"])[0] == 200
    item = {"url": _URL, "name": "item of noisy"}
    made = [
        caller.call("POST", "/uploads", b"", Tus_Resumable="1.0.0", Upload_Length="9"),
        caller.call("POST", "/batches", {"items": [item]}, Idempotency_Key="retry of noisy"),
        caller.call("POST", "/webhooks", {"url": "https://example.com/noisy"}),
        caller.call("POST", "/webhooks/callback-secret"),
        caller.call("POST", "/brands", _BRAND, Content_Type="multipart/form-data; boundary=x"),
    ]
    assert {status for status, _ in made} <= {200, 201, 202}, made
    brand_id = made[-1][1]["brand_id"]
    assert caller.call("PUT", "/brands/default", {"brand_id": brand_id})[0] == 200
    (upload,) = caller.call("GET", "/uploads")[1]
    part = {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream"}
    assert caller.call("PATCH", upload["link"], b"of", Tus_Resumable="1.0.0", **part)[0] == 204
    return [
        upload["upload_id"],
        made[1][1]["batch_id"],
        made[2][1]["webhook_id"],
        made[3][1]["secret"],
        brand_id,
    ]


def delete_account(caller: Caller, name: str) -> bool:
    """Return whether the account is gone; log in again where its downloads take long to stop."""
    status, document = caller.call("DELETE", "/me", {"password": PASSWORD})
    if status != 204:
        assert (status, document["code"]) == (503, "tasks_still_running")
        time.sleep(5)  # as Retry-After says
        caller.log_in(name)
    return status == 204


def rows(running: System) -> dict[str, str]:
    """Return the text of each table."""
    names = running.database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        str(name): "\n".join(
            str(row) for (row,) in running.database.execute(f'SELECT t::text FROM "{name}" t')
        )
        for (name,) in names
    }


def rows_of_owner(running: System, user_id: int) -> list[str]:
    """Return the tables with rows of an account, by every column that holds an account's id.

    worker-server/tests/test_deleted_accounts.py finds new tables that have other ones.
    """
    columns = running.database.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name IN ('owner_id', 'user_id')"
    )
    return sorted(
        str(table)
        for table, column in columns
        if running.database.execute(f'SELECT 1 FROM "{table}" WHERE {column} = {user_id}')
    )
