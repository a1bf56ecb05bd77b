"""A deleted account leaves no row behind, whatever comes at the same moment."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from idrl_testing.problems import assert_problem
from idrl_testing.waiting import wait_until
from worker_server.queue import submissions, uploads
from worker_server.queue.submissions import Submission
from worker_server.settings import Settings

OWNER, OTHER = 1, 2
TUS = {"Tus-Resumable": "1.0.0", "Upload-Length": "9"}
URL = "https://example.com/v.mp4"
# Which call adds a row to which table.
CALLS: dict[str, Callable[[FlaskClient, dict[str, str]], TestResponse]] = {
    "tasks": lambda client, headers: client.post("/tasks", json={"url": URL}, headers=headers),
    "batches": lambda client, headers: client.post(
        "/batches", json={"items": [{"url": URL}]}, headers=headers
    ),
    "uploads": lambda client, headers: client.post("/uploads", headers={**headers, **TUS}),
    "brands": lambda client, headers: client.post(
        "/brands", data={"name": "b"}, headers=headers, content_type="multipart/form-data"
    ),
    "webhooks": lambda client, headers: client.post(
        "/webhooks", json={"url": "https://example.com/hook"}, headers=headers
    ),
    "callback_secrets": lambda client, headers: client.post(
        "/webhooks/callback-secret", headers=headers
    ),
}
Headers = Callable[..., dict[str, str]]


@pytest.fixture
def accounts(database: Database) -> None:
    """Two accounts, 1 and 2."""
    database.execute(
        "INSERT INTO users (username, email, password_hash)"
        " SELECT 'u' || n, n || '@example.com', 'x' FROM generate_series(1, 2) n"
    )


def delete_account(database: Database) -> None:
    database.execute(f"DELETE FROM users WHERE id = {OWNER}")


def count(database: Database, table: str) -> object:
    return database.execute(f'SELECT count(*) FROM "{table}"')[0][0]


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("table", CALLS)
def test_nothing_is_added_for_a_deleted_account(
    client: FlaskClient, auth: Headers, database: Database, settings: Settings, table: str
) -> None:
    call = CALLS[table]
    assert call(client, auth(OTHER)).status_code < 300
    files = _files(settings)
    delete_account(database)
    assert_problem(call(client, auth(OWNER)), 401, "token_invalid")
    assert count(database, table) == 1
    assert _files(settings) == files
    assert call(client, auth(OTHER)).status_code < 300


@pytest.mark.usefixtures("accounts")
def test_default_brand_is_not_set_for_a_deleted_account(
    client: FlaskClient, auth: Headers, database: Database
) -> None:
    brand_id = CALLS["brands"](client, auth(OTHER)).get_json()["brand_id"]
    insert = "INSERT INTO brand_defaults (owner_id, brand_id) VALUES"
    delete_account(database)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="account 1 is deleted"):
        database.execute(f"{insert} ({OWNER}, '{brand_id}')")
    database.execute(f"{insert} ({OTHER}, '{brand_id}')")


@pytest.mark.usefixtures("accounts")
def test_account_is_not_deleted_before_a_task_that_is_being_added(
    app: Flask, database: Database
) -> None:
    with app.app_context(), ThreadPoolExecutor(1) as pool:
        with closing(_connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO tasks (id, owner_id, url) VALUES (%s, %s, %s)",
                (str(uuid.uuid4()), OWNER, URL),
            )
            deletion = pool.submit(delete_account, database)
            wait_until(lambda: _waiting_for_lock(database))
            connection.commit()
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="has tasks"):
            deletion.result()
    assert (count(database, "users"), count(database, "tasks")) == (2, 1)


@pytest.mark.usefixtures("accounts")
def test_task_that_comes_while_its_account_is_deleted_is_refused(
    client: FlaskClient, auth: Headers, database: Database
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with closing(_connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM users WHERE id = %s", (OWNER,))
            answer = pool.submit(CALLS["tasks"], client, auth(OWNER))
            wait_until(lambda: _waiting_for_lock(database))
            # Neither waits: another account, or a read-only transaction.
            assert client.get("/tasks", headers=auth(OWNER)).get_json() == []
            assert CALLS["tasks"](client, auth(OTHER)).status_code == 202
            connection.commit()
        assert_problem(answer.result(), 401, "token_invalid")
    assert database.execute("SELECT owner_id FROM tasks") == [(OTHER,)]


@pytest.mark.usefixtures("accounts")
def test_deleted_uploads_and_brands_go_with_the_account(
    client: FlaskClient, auth: Headers, database: Database
) -> None:
    """The sweeper removes their files: an unfinished one's, an expired one's."""
    headers = auth(OWNER)
    unfinished, expired, removed = (CALLS["uploads"](client, headers) for _ in range(3))
    brand = CALLS["brands"](client, headers).get_json()
    for link in (unfinished.headers["Location"], brand["link"]):
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="has tasks or other rows"):
            delete_account(database)
        assert client.delete(link, headers={**headers, **TUS}).status_code == 204
        ids = [each.headers["Location"].rpartition("/")[2] for each in (expired, removed)]
        for upload_id, change in zip(
            ids, ("expires_at = now()", "deleted_at = now(), removed_at = now()"), strict=True
        ):
            database.execute(f"UPDATE uploads SET {change} WHERE id = '{upload_id}'")
    delete_account(database)
    assert database.execute("SELECT owner_id, name FROM uploads") == [(0, None)] * 2
    assert count(database, "brands") == 0
    with client.application.app_context():
        gone = {str(each) for each in uploads.due_removals(10)}
    assert gone == {each.headers["Location"].rpartition("/")[2] for each in (unfinished, expired)}


@pytest.mark.usefixtures("app")
def test_ids_that_were_never_given_out_are_no_deleted_accounts(database: Database) -> None:
    assert submissions.create_task(Submission(7, URL))[1]
    assert count(database, "tasks") == 1


def test_every_table_with_an_owner_is_guarded(database: Database) -> None:
    """A new table cannot be forgotten: it has the trigger, or goes with its task or account."""
    owned = {
        str(table)
        for (table,) in database.execute(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema ="
            " 'public' AND (column_name LIKE '%owner%' OR column_name LIKE '%user_id%'"
            " OR column_name LIKE '%account%') AND column_name <> 'lease_owner'"
        )
    }
    guarded = {
        str(table)
        for (table,) in database.execute(
            "SELECT event_object_table FROM information_schema.triggers"
            " WHERE trigger_name = event_object_table || '_owner_exists'"
        )
    }
    cascading = {
        str(table)
        for (table,) in database.execute(
            "SELECT conrelid::regclass FROM pg_constraint WHERE contype = 'f'"
            " AND confdeltype = 'c' AND confrelid::regclass::text IN ('users', 'tasks')"
        )
    }
    # Deleted in the account's own transaction.
    with_the_account = {"usage_days", "login_failures"}
    assert {"tasks", "webhooks", "uploads"} <= guarded
    assert {"parts", "api_keys"} <= cascading
    assert owned - guarded - cascading == with_the_account
    (body,) = database.execute("SELECT prosrc FROM pg_proc WHERE proname = 'keep_owners'")[0]
    assert all(f"FROM {table} WHERE owner_id" in str(body) for table in guarded)


def _files(settings: Settings) -> set[Path]:
    """Return the files on the share; the sweeper removes a folder that is empty."""
    return {path for path in settings.remote_folder.rglob("*") if path.is_file()}


def _connect(database: Database) -> psycopg2.extensions.connection:
    return psycopg2.connect(
        host=database.host,
        port=database.port,
        dbname=database.name,
        user=database.superuser,
        password=database.password,
    )


def _waiting_for_lock(database: Database) -> bool:
    return bool(
        database.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' LIMIT 1")
    )
