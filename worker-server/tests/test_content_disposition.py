"""The name under which a download is saved by programs that read `filename` alone, as curl does."""

import uuid
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from worker_server.db import db
from worker_testing import task_of

Auth = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("task_name", "stem"),
    [
        ("Nächte", "Nachte"),
        ("Na\N{COMBINING DIAERESIS}chte", "Nachte"),
        ("\u89c6\u9891", "__"),
        ("\u65e5\u672c - \u6771\u4eac", "__ - __"),
        ("..\N{FULLWIDTH SOLIDUS}x", "_x"),
        ("a\N{FULLWIDTH QUOTATION MARK}; b", "a_; b"),
    ],
)
@pytest.mark.parametrize(
    ("path", "start", "ending"),
    [("parts/0", "inline", " 01.mp4"), ("clips.zip", "attachment", ".zip")],
)
def test_name_in_ascii_has_a_character_for_each_of_the_name(
    client: FlaskClient,
    auth: Auth,
    finished: tuple[str, bytes],
    task_name: str,
    stem: str,
    path: str,
    start: str,
    ending: str,
) -> None:
    task_of(uuid.UUID(finished[0])).name = task_name
    db.session.commit()
    with client.get(f"/tasks/{finished[0]}/{path}", headers=auth()) as answer:
        header = answer.headers["Content-Disposition"]
    assert header.startswith(f'{start}; filename="{stem}{ending}"; filename*=UTF-8')


def test_ascii_name_of_a_clip_is_sent_once(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    with client.get(f"/tasks/{finished[0]}/parts/0", headers=auth()) as answer:
        assert answer.headers["Content-Disposition"] == 'inline; filename="race 01.mp4"'
