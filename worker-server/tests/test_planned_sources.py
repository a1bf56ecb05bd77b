"""The source of a planned task: it is downloaded once for all its plans."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.settings import Settings
from worker_testing import files, task_of, uuid_of

pytestmark = pytest.mark.usefixtures("app")
Auth = Callable[..., dict[str, str]]
Sample = Callable[..., str]


def test_planned_task_from_url_to_clips(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    site: str,
    site_folder: Path,
    sample: Sample,
    post_manual: Callable[..., dict[str, Any]],
) -> None:
    """The source is downloaded once: by the second plan, the site has it no longer."""
    name = sample(10)
    link = post_manual(f"{site}/{name}", part_seconds=4)["link"]
    assert fetch_next(settings, runtime)
    assert not render_next(settings, runtime)
    served = (site_folder / name).read_bytes()
    (site_folder / name).unlink()
    try:
        change = {"edit": {"segments": [{"start_s": 6, "end_s": 9}], "cut": "scene"}}
        assert client.patch(link, json=change, headers=auth()).status_code == 200
        assert fetch_next(settings, runtime)
    finally:
        (site_folder / name).write_bytes(served)
    task = client.get(link, headers=auth()).get_json()
    assert (task["status"], len(task["parts"])) == ("planned", 1)
    assert files(settings, uuid_of(link)) == {"source.1"}
    assert client.post(f"{link}/start", headers=auth()).status_code == 202
    assert render_next(settings, runtime)
    task = client.get(link, headers=auth()).get_json()
    assert (task["status"], task["error"]) == ("done", None)
    assert [part["frames"] for part in task["parts"]] == [50]
    assert files(settings, uuid_of(link)) == {"0.1.mp4", "0.1.jpg"}


def test_source_that_is_gone_is_downloaded_again(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    site: str,
    sample: Sample,
    post_manual: Callable[..., dict[str, Any]],
) -> None:
    link = post_manual(f"{site}/{sample(10)}")["link"]
    assert fetch_next(settings, runtime)
    (settings.remote_folder / str(uuid_of(link)) / "source.1").unlink()
    client.patch(link, json={"edit": {"part_seconds": 5}}, headers=auth())
    assert fetch_next(settings, runtime)
    assert task_of(uuid_of(link)).status == "planned"
    assert files(settings, uuid_of(link)) == {"source.2"}
