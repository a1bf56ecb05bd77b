"""The HTML of a share link: a preview for messengers, and a list for browsers without scripts."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest
from flask.testing import FlaskClient
from share_testing import DOCUMENT, link, with_one_task

from idrl_testing.waiting import LIMIT_S
from web_server import share_views

if TYPE_CHECKING:
    from conftest import Exchange, MakeApp, TasksStandIn


@pytest.fixture(autouse=True)
def tasks(tasks: TasksStandIn) -> TasksStandIn:
    return with_one_task(tasks)


@pytest.fixture
def _long_preview_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the tasks service, however late it answers."""
    monkeypatch.setattr(share_views, "_PREVIEW_TIMEOUT_S", LIMIT_S)


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    "user_agent",
    [
        "WhatsApp/2.23.20.0 A",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "TelegramBot (like TwitterBot)",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    ],
)
@pytest.mark.usefixtures("_long_preview_timeout")
def test_messengers_get_a_preview(
    client: FlaskClient, headers: dict[str, str], user_agent: str
) -> None:
    """They run no scripts, and ask for anything."""
    path = link(client, headers)
    answer = client.get(path, headers={"Accept": "*/*", "User-Agent": user_agent})
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("text/html", "no-store")
    assert "<title>race.mp4 · idrl</title>" in answer.text
    tags = dict(re.findall(r'<meta property="(.*?)" content="(.*?)">', answer.text))
    assert tags["og:title"] == "race.mp4"
    assert tags["og:description"] == "2 clips"
    assert tags["og:image"] == f"http://localhost{path}/parts/0/poster.jpg"
    assert "noindex" in answer.text
    assert "secret" not in answer.text


@pytest.mark.usefixtures("_long_preview_timeout")
def test_clips_are_listed_for_browsers_without_scripts(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    path = link(client, headers)
    document = client.get(path, headers=BROWSER).text
    (listed,) = re.findall("<noscript>(.*?)</noscript>", document, re.DOTALL)
    assert re.findall('href="(.*?)"', listed) == [
        f"{path}/clips.zip",
        f"{path}/parts/0",
        f"{path}/parts/1",
    ]
    assert "Clip 1</a> 0:00 - 0:20" in listed
    of_a_part = client.get(link(client, headers, part=1), headers=BROWSER).text
    assert "clips.zip" not in of_a_part
    assert "1 clip" in of_a_part


@pytest.mark.usefixtures("_long_preview_timeout")
def test_names_in_a_preview_are_text(
    client: FlaskClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = '"><script>alert(1)</script>\\1</title>'
    monkeypatch.setitem(DOCUMENT, "name", name)
    monkeypatch.setitem(DOCUMENT["parts"][0], "name", name)  # type: ignore[index] # a list
    document = client.get(link(client, headers), headers=BROWSER).text
    assert document.count("<script") == 1  # the page's own
    assert document.count("</title>") == 1
    assert document.count("&lt;script&gt;") == 4  # title, og:title, heading, clip


def test_page_comes_where_its_preview_cannot(
    client: FlaskClient, headers: dict[str, str], tasks: TasksStandIn
) -> None:
    """It shows what is wrong in words, once it has asked for the document."""
    path = link(client, headers)
    tasks.answer = lambda exchange: exchange.respond(503, b"{}")
    for address in (path, "/s/none"):
        answer = client.get(address, headers=BROWSER)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        assert "<title>idrl</title>" in answer.text
        assert "og:title" not in answer.text


def test_page_does_not_wait_for_a_service_that_hangs(
    make_app: MakeApp, headers: dict[str, str], tasks: TasksStandIn
) -> None:
    """Other calls wait for TASKS_TIMEOUT_S."""
    client = make_app(tasks_timeout_s=LIMIT_S).test_client()
    path = link(client, headers)
    ended = threading.Event()

    def hang(_: Exchange) -> None:
        ended.wait(LIMIT_S)

    tasks.answer = hang
    try:
        assert "<title>idrl</title>" in client.get(path, headers=BROWSER).text
    finally:
        ended.set()
