"""Share links: who makes them, what they show, and what they never do."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
import pytest
from flask.testing import FlaskClient
from share_testing import TASK, link, with_one_task

from idrl_common.token_verifier import TokenInvalid, TokenVerifier
from web_testing import assert_problem, bearer

if TYPE_CHECKING:
    from conftest import AuthActions, Exchange, Keys, MakeApp, TasksStandIn


@pytest.fixture(autouse=True)
def tasks(tasks: TasksStandIn) -> TasksStandIn:
    return with_one_task(tasks)


def test_link_shows_the_finished_parts_of_its_task_to_everybody(
    client: FlaskClient, headers: dict[str, str], tasks: TasksStandIn
) -> None:
    path = link(client, headers)
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.json is not None
    assert "secret" not in answer.text
    assert answer.json["name"] == "race.mp4"
    assert [part["number"] for part in answer.json["parts"]] == [0, 1]
    assert tasks.seen[-1].headers["Authorization"].startswith("Bearer ")
    links = [
        *(part[kind] for part in answer.json["parts"] for kind in ("link", "poster")),
        *(answer.json[kind] for kind in ("contact_sheet", "clips_zip", "manifest")),
    ]
    for each in links:
        assert client.get(each, headers={"Range": "bytes=0-4"}).data == b"bytes"
        query = "?shared=true" if each.endswith(("zip", "json")) else ""
        assert tasks.seen[-1].target == each.replace(path, f"/tasks/{TASK}") + query
        assert tasks.seen[-1].headers["Range"] == "bytes=0-4"
    assert client.post(path).status_code == client.delete(path).status_code == 405


# What callers accept, and what they get: the page only where nothing is preferred to it.
_PREFERENCES = {
    "application/json": "application/json",
    "*/*": "application/json",
    "text/*, */*": "application/json",
    "application/json, text/html;q=0.5": "application/json",
    "text/html;q=0, */*": "application/json",
    "text/html;q=0.1, application/*": "application/json",
    "application/xhtml+xml, text/htmlx": "application/json",
    "text/html": "text/html",
    "TEXT/HTML ; charset=utf-8, */*; q=0.1": "text/html",
    "text/html, application/xhtml+xml, */*": "text/html",
    "application/json;q=0.5, text/html;q=0.9": "text/html",
}


@pytest.mark.usefixtures("tasks")
def test_browsers_get_the_page_that_shows_the_link(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    path = link(client, headers)
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = client.get(path, headers={"Accept": browser})
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert (page.headers["Cache-Control"], page.headers["Vary"]) == ("no-store", "Accept")
    for accept, mimetype in _PREFERENCES.items():
        answer = client.get(path, headers={"Accept": accept})
        assert (answer.mimetype, answer.headers["Vary"]) == (mimetype, "Accept"), accept


def test_link_of_a_part_shows_no_other(
    client: FlaskClient, headers: dict[str, str], tasks: TasksStandIn
) -> None:
    path = link(client, headers, part=1)
    document: Any = client.get(path).json
    assert [part["number"] for part in document["parts"]] == [1]
    assert document["contact_sheet"] is document["clips_zip"] is document["manifest"] is None
    assert client.get(f"{path}/parts/1").data == b"bytes"
    assert client.get(f"{path}/parts/1/poster.jpg").data == b"bytes"
    seen = len(tasks.seen)
    for other in (
        "parts/0",
        "parts/0/poster.jpg",
        "contact-sheet.jpg",
        "clips.zip",
        "manifest.json",
    ):
        assert_problem(client.get(f"{path}/{other}"), 404, "link_not_found")
    for other in ("parts/-1", "parts/%D9%A1", "parts/1/../0", "../../tasks", "parts/1/x"):
        assert client.get(f"{path}/{other}").status_code == 404
    assert len(tasks.seen) == seen


def test_address_is_the_one_that_the_owner_called(
    client: FlaskClient, make_app: MakeApp, headers: dict[str, str]
) -> None:
    behind_nginx = make_app(accel_redirect=True).test_client()
    proxy_headers = {"Host": "clips.example.com", "X-Forwarded-Proto": "https"}
    url = f"/tasks/{TASK}/links"
    answers = [
        each.post(url, json={}, headers={**headers, **proxy_headers}).get_json()["url"]
        for each in (client, behind_nginx)
    ]
    assert answers[0].startswith("http://clips.example.com/s/ey")
    assert answers[1].startswith("https://clips.example.com/s/ey")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("idrl_nginx_1:5050", "idrl_nginx_1:5050"),
        ("media_pc", "media_pc"),
        ("clips~1.example:80", "clips~1.example"),
        ("[::1]:5050", "[::1]:5050"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("clips.example:", "clips.example"),
    ],
)
def test_address_has_any_host_that_a_url_may_have(
    client: FlaskClient, headers: dict[str, str], host: str, expected: str
) -> None:
    answer = client.post(f"/tasks/{TASK}/links", json={}, headers={**headers, "Host": host})
    assert answer.get_json()["url"].startswith(f"http://{expected}/s/ey")


@pytest.mark.parametrize(
    "host", ["a b", "<script>", "a/b", "a:b", "u@a.example", "[::1", "a#b", ""]
)
def test_no_link_is_made_of_a_malformed_host(
    client: FlaskClient, headers: dict[str, str], host: str
) -> None:
    answer = client.post(f"/tasks/{TASK}/links", json={}, headers={**headers, "Host": host})
    assert_problem(answer, 400, "bad_request")


@pytest.mark.parametrize(
    ("timeout_s", "status", "code"),
    [(60, 502, "tasks_unavailable"), (0.5, 504, "tasks_timeout")],
    ids=["breaks off", "stalls"],
)
def test_answer_that_does_not_end_makes_no_link(
    make_app: MakeApp,
    headers: dict[str, str],
    tasks: TasksStandIn,
    timeout_s: float,
    status: int,
    code: str,
) -> None:
    has_ended = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.respond(200, b'{"parts"', {"Content-Length": "100"})
        exchange.wfile.flush()
        if status == 504:
            has_ended.wait(60)
        exchange.hang_up()

    tasks.answer = answer
    caller = make_app(tasks_timeout_s=timeout_s).test_client()
    try:
        result = caller.post(f"/tasks/{TASK}/links", json={}, headers=headers)
    finally:
        has_ended.set()
    assert_problem(result, status, code)


def test_nginx_sends_what_a_link_shows_by_the_owners_token(
    client: FlaskClient, make_app: MakeApp, headers: dict[str, str], keys: Keys
) -> None:
    path = link(client, headers)
    behind_nginx = make_app(accel_redirect=True, clip_cache_size="0").test_client()
    answer = behind_nginx.get(f"{path}/parts/0/poster.jpg")
    assert answer.headers["X-Accel-Redirect"] == f"/_tasks/tasks/{TASK}/parts/0/poster.jpg"
    archive = behind_nginx.get(f"{path}/clips.zip").headers["X-Accel-Redirect"]
    assert archive == f"/_tasks/tasks/{TASK}/clips.zip?shared=true"
    token = answer.headers["X-Accel-Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, keys.public, algorithms=["EdDSA"], audience="idrl")
    assert claims["exp"] - time.time() <= 120


def test_manifest_of_a_link_comes_through_the_web_app(
    client: FlaskClient, make_app: MakeApp, headers: dict[str, str]
) -> None:
    """nginx stores it whole: strangers who read slowly hold no thread of the tasks service."""
    path = link(client, headers)
    behind_nginx = make_app(accel_redirect=True, clip_cache_size="0").test_client()
    answer = behind_nginx.get(f"{path}/manifest.json")
    assert "X-Accel-Redirect" not in answer.headers
    assert answer.data == b"bytes"


@pytest.mark.parametrize(("body", "valid_s"), [({}, 86_400), ({"expires_in_s": 60}, 60)])
def test_link_shows_when_it_expires(
    client: FlaskClient, headers: dict[str, str], body: dict[str, object], valid_s: int
) -> None:
    """To its owner, and to callers without an account."""
    made = client.post(f"/tasks/{TASK}/links", json=body, headers=headers).get_json()
    expires_at = datetime.fromisoformat(made["expires_at"])
    assert abs(expires_at - datetime.now(UTC) - timedelta(seconds=valid_s)) < timedelta(seconds=30)
    assert client.get(urlsplit(made["url"]).path).get_json()["expires_at"] == made["expires_at"]


def test_expired_link(
    client: FlaskClient,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    path = link(client, headers, expires_in_s=60)
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert client.get(path).status_code == 200
    monkeypatch.setattr(time, "time", lambda: now + 61)
    for below in ("", "/parts/0", "/contact-sheet.jpg"):
        assert_problem(client.get(path + below), 410, "link_expired")


@pytest.mark.parametrize("ahead_s", [20, -20])
def test_clocks_of_two_machines_may_differ(
    client: FlaskClient, headers: dict[str, str], keys: Keys, ahead_s: int
) -> None:
    """As for tokens of log-ins: the machine that made the link may be ahead of this one."""
    token = link(client, headers).removeprefix("/s/")
    claims = jwt.decode(token, keys.public, algorithms=["EdDSA"], audience="idrl-share")
    moved = claims | {"iat": claims["iat"] + ahead_s, "exp": claims["exp"] + ahead_s}
    from_other = jwt.encode(moved, keys.private, "EdDSA", headers={"typ": "share+jwt"})
    for below in ("", "/parts/0", "/contact-sheet.jpg"):
        assert client.get(f"/s/{from_other}{below}").status_code == 200


def test_altered_link(
    client: FlaskClient,
    headers: dict[str, str],
    keys: Keys,
    other_keys: Keys,
    tasks: TasksStandIn,
) -> None:
    token = link(client, headers, part=1).removeprefix("/s/")
    claims = jwt.decode(token, keys.public, algorithms=["EdDSA"], audience="idrl-share")
    claims["part"] = 0  # which the token does not show
    typed = {"typ": "share+jwt"}

    def signed(claims: dict[str, Any]) -> str:
        return jwt.encode(claims, keys.private, "EdDSA", headers=typed)

    good, required = signed(claims), claims.keys() - {"part"}
    assert client.get(f"/s/{good}/parts/0").status_code == 200
    head, body, _ = good.split(".")
    other = jwt.encode(claims, other_keys.private, "EdDSA", headers=typed)
    seen = len(tasks.seen)
    for altered in (
        f"{head}.{body}.{token.split('.')[2]}",
        other,
        jwt.encode(claims, "", "none", headers=typed),
        jwt.encode(claims, keys.private, "EdDSA"),  # of another type
        signed(claims | {"aud": "idrl"}),
        signed(claims | {"iss": "other"}),
        signed(claims | {"filler": "x" * 2000}),  # too long to be decoded
        *(signed({name: claims[name] for name in claims if name != left}) for left in required),
        good[:-8],
        f"{head}.{body}",
        "x" * 5000,
        "x",
    ):
        assert_problem(client.get(f"/s/{altered}/parts/0"), 404, "link_not_found")
    assert len(tasks.seen) == seen


@pytest.mark.parametrize("is_new_first", [True, False])
def test_link_outlives_a_key_rotation(
    client: FlaskClient,
    make_app: MakeApp,
    headers: dict[str, str],
    keys: Keys,
    other_keys: Keys,
    *,
    is_new_first: bool,
) -> None:
    public = (other_keys.public, keys.public)
    rotated = make_app(
        jwt_private_key=other_keys.private,
        jwt_public_key="".join(public if is_new_first else reversed(public)),
    ).test_client()
    assert rotated.get(link(client, headers)).status_code == 200


def test_link_ends_with_the_key_that_signed_it(
    client: FlaskClient, make_app: MakeApp, headers: dict[str, str], other_keys: Keys
) -> None:
    """So docs/operations.md keeps the old key on the web machine until all links have expired."""
    rotated = make_app(
        jwt_private_key=other_keys.private, jwt_public_key=other_keys.public
    ).test_client()
    assert_problem(rotated.get(link(client, headers)), 404, "link_not_found")


def test_tokens_of_links_and_log_ins_are_not_interchangeable(
    client: FlaskClient, headers: dict[str, str], keys: Keys
) -> None:
    token = link(client, headers).removeprefix("/s/")
    for path in ("/tasks", "/me"):
        assert_problem(client.get(path, headers=bearer(token)), 401, "token_invalid")
    with pytest.raises(TokenInvalid):
        TokenVerifier(keys.public).verify(token)  # as the tasks service does
    log_in = headers["Authorization"].removeprefix("Bearer ")
    assert_problem(client.get(f"/s/{log_in}"), 404, "link_not_found")
    claims = jwt.decode(log_in, keys.public, algorithms=["EdDSA"], audience="idrl")
    old = jwt.encode(claims | {"exp": 1}, keys.private, "EdDSA", headers={"typ": "at+jwt"})
    assert_problem(client.get(f"/s/{old}"), 404, "link_not_found")


def test_link_outlives_the_log_in_and_ends_with_the_account(
    client: FlaskClient,
    make_app: MakeApp,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
) -> None:
    path = link(client, headers)
    assert client.post("/auth/logout", headers=headers).status_code == 204
    assert client.get(path).status_code == 200
    answer: Any = auth.login().json
    known = tasks.answer
    tasks.answer = lambda exchange: exchange.respond(200, b"[]")
    body = {"password": auth.password}
    assert client.delete("/me", json=body, headers=bearer(answer["token"])).status_code == 204
    tasks.answer = known
    another_process = make_app().test_client()
    assert_problem(another_process.get(f"{path}/parts/0"), 404, "link_not_found")
    assert_problem(client.get(path), 404, "link_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"expires_in_s": 59},
        {"expires_in_s": 2_592_001},
        {"expires_in_s": "60"},
        {"expires_in_s": None},
        {"part": -1},
        {"part": 0.5},
        {"parts": [1]},
    ],
)
def test_bad_bodies(client: FlaskClient, headers: dict[str, str], body: dict[str, object]) -> None:
    answer = client.post(f"/tasks/{TASK}/links", json=body, headers=headers)
    assert_problem(answer, 400, "invalid_body")


def test_links_are_for_the_owner_of_a_task(client: FlaskClient, headers: dict[str, str]) -> None:
    url = f"/tasks/{TASK}/links"
    assert_problem(client.post(url, json={}), 401, "token_missing")
    assert_problem(client.get(url, headers=headers), 405, "method_not_allowed")
    options = client.options(url, headers=headers)
    assert (options.status_code, options.headers["Allow"]) == (200, "POST, OPTIONS")
    assert_problem(client.post(url, json={"part": 3}, headers=headers), 404, "part_not_found")
    assert_problem(client.post("/tasks/x/links", json={}, headers=headers), 404, "task_not_found")
    strange = client.post(f"/tasks/{TASK[:-1]}9/links", json={}, headers=headers)
    assert strange.status_code == 404  # as the tasks service says it
    assert link(client, headers, expires_in_s=2_592_000)
    assert link(client, headers, expires_in_s=60.0, part=2)


def test_logs_have_no_tokens(
    client: FlaskClient,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = link(client, headers)
    with caplog.at_level("INFO", "access"):
        wrapped = path[:40] + "%0A" + path[40:]
        for address in (path, f"{path}/parts/0", f"/x/../s{path[2:]}", wrapped):
            client.get(address)
    written = [record.access["path"] for record in caplog.records if record.name == "access"]  # type: ignore[attr-defined] # ours
    assert written == ["/s/-", "/s/-/parts/0", "/x/../s/-", "/s/-"]


@pytest.mark.parametrize("token", ["é.é.é", "%00", "..", "a.b.c", "%ff.%fe.x", "%F0%9F%8E%AC"])
def test_malformed_share_tokens_are_404(
    client: FlaskClient, token: str, tasks: TasksStandIn
) -> None:
    for below in ("", "/clips.zip", "/parts/99999999999999999999999"):
        answer = client.get(f"/s/{token}{below}")
        assert answer.status_code == 404
        assert answer.content_type == "application/problem+json"
    assert tasks.seen == []
