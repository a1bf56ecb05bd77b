"""What people do with their account: tokens, profile, keys, deletion."""

import hashlib
import time
from collections.abc import Callable

import pytest
from blackbox.client import Account, Api

from idrl_testing.site import Site
from idrl_testing.waiting import wait_until

NEW_PASSWORD = "Difference2"
# A short task ends within this time, also on a loaded machine.
TASK_S = 120


@pytest.fixture
def account(new_account: Callable[[], Account], anonymous: Api) -> Account:
    """An account that exists."""
    account = new_account()
    assert anonymous.post("/auth/signup", account.form()).status_code == 201
    return account


def log_in(anonymous: Api, account: Account, password: str | None = None) -> Api:
    body = {"email": account.email, "password": password or account.password}
    answer = anonymous.post("/auth/login", body)
    assert answer.status_code == 200
    return Api(anonymous.base_url, anonymous.contract, answer.json()["token"])


@pytest.fixture
def owner(anonymous: Api, account: Account) -> Api:
    """The API as the owner of `account` calls it."""
    return log_in(anonymous, account)


def assert_ended(api: Api) -> None:
    """Wait until every process of the web app refuses the token, which takes up to 5 s."""

    def every_process_refuses() -> bool:
        # Each process caches accounts for up to 5 s, and any of them may answer.
        answers = [api.get("/tasks") for _ in range(12)]
        return all(
            answer.status_code == 401 and answer.json()["code"] == "token_invalid"
            for answer in answers
        )

    wait_until(every_process_refuses)


def test_refresh_gives_another_token(owner: Api) -> None:
    answer = owner.call("POST", "/auth/refresh")
    assert answer.json()["expires_in"] == 3600
    assert Api(owner.base_url, owner.contract, answer.json()["token"]).get("/me").ok


def test_logout_ends_every_token(owner: Api, anonymous: Api, account: Account) -> None:
    other = log_in(anonymous, account)
    assert owner.call("POST", "/auth/logout").status_code == 204
    for ended in (owner, other):
        assert_ended(ended)
    assert log_in(anonymous, account).get("/tasks").json() == []


def test_new_password(owner: Api, anonymous: Api, account: Account) -> None:
    body = {"old_password": account.password, "password": NEW_PASSWORD, "password_2": NEW_PASSWORD}
    answer = owner.post("/auth/password", body)
    assert Api(owner.base_url, owner.contract, answer.json()["token"]).get("/me").ok
    assert_ended(owner)
    assert log_in(anonymous, account, NEW_PASSWORD).get("/me").ok
    wrong = owner.post("/auth/login", {"email": account.email, "password": account.password})
    assert wrong.json()["code"] == "bad_credentials"


def test_profile(owner: Api, account: Account) -> None:
    assert owner.get("/me").json()["username"] == account.username
    changed = owner.call("PATCH", "/me", json={"username": f"{account.username}-2"})
    assert changed.json()["username"] == f"{account.username}-2"
    refused = owner.call("PATCH", "/me", json={"email": "x@example.com"})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "password_required")


def test_script_with_a_key_makes_and_downloads_clips(
    owner: Api, site: Site, short_video: bytes
) -> None:
    made = owner.post("/me/keys", {"name": "script", "expires_in_days": 1}).json()
    script = Api(owner.base_url, owner.contract, made["key"])
    task = script.submit(site.add("with-a-key.mp4", short_video))
    done = script.finish(task["task_id"])
    [part] = done["parts"]
    for _ in range(3):  # through nginx: passed on, cached, and from the cache
        clip = script.download(part)
        assert hashlib.sha256(clip.content).hexdigest() == part["sha256"]
    listed = owner.get("/me/keys").json()
    assert [key["key_id"] for key in listed] == [made["key_id"]]
    assert owner.call("DELETE", f"/me/keys/{made['key_id']}").status_code == 204
    assert_ended(script)
    assert owner.call("DELETE", f"/me/keys/{made['key_id']}").json()["code"] == "key_not_found"


def test_deleted_account_is_gone(
    owner: Api, anonymous: Api, account: Account, site: Site, short_video: bytes
) -> None:
    finished = owner.submit(site.add("of-a-deleted-account.mp4", short_video))
    owner.finish(finished["task_id"])
    owner.submit(site.add("of-a-deleted-account.mp4", short_video))
    wrong = owner.call("DELETE", "/me", json={"password": NEW_PASSWORD})
    assert wrong.json()["code"] == "bad_credentials"
    assert owner.call("DELETE", "/me", json={"password": account.password}).status_code == 204
    assert_ended(owner)
    body = {"email": account.email, "password": account.password}
    assert anonymous.post("/auth/login", body).json()["code"] == "bad_credentials"
    # Username and email are free, and the new account sees nothing of the old one.
    assert anonymous.post("/auth/signup", account.form()).status_code == 201
    assert log_in(anonymous, account).get("/tasks").json() == []


def test_usage_counts_what_the_account_makes(owner: Api, site: Site, short_video: bytes) -> None:
    before = owner.get("/usage").json()
    assert (before["live_tasks"], before["clips_bytes"]) == (0, 0)
    if before["today_ends_in_s"] < TASK_S:  # else the task may be counted on two days
        time.sleep(before["today_ends_in_s"] + 1)
    task = owner.submit(site.add("of-a-counted-account.mp4", short_video))
    done = owner.finish(task["task_id"])
    used = owner.get("/usage").json()
    assert used["clips_bytes"] == sum(part["size_bytes"] for part in done["parts"])
    # Two seconds, and perhaps the padding of the sound.
    assert 1.9 < used["rendered_s_this_month"] < 2.2
    assert used["source_s_today"] == used["rendered_s_this_month"]


def test_operators_calls_are_refused_to_others(owner: Api) -> None:
    for answer in (
        owner.get("/status"),
        owner.post("/status/pause", {"kind": "fetch"}),
        owner.post("/status/resume", {"kind": "fetch"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_only")
