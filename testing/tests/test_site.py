import socket
from pathlib import Path

import pytest
import requests

from idrl_testing import site as web_site
from idrl_testing.waiting import wait_until


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=10)


def test_page_is_served_whole_and_by_range() -> None:
    with web_site.serve() as site:
        url = site.add("a.mp4", b"0123456789")
        assert get(url).content == b"0123456789"
        part = get(url, Range="bytes=3-5")
        assert (part.status_code, part.content) == (206, b"345")
        assert part.headers["Content-Range"] == "bytes 3-5/10"
        assert site.hits["/a.mp4"] == 2


def test_file_of_the_folder_is_served_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a b.mp4").write_bytes(b"video")
    (tmp_path / "secret").write_bytes(b"secret")
    with web_site.serve(folder=folder) as site:
        assert get(f"{site.url}/a%20b.mp4?token=1").content == b"video"
        with socket.create_connection(("127.0.0.1", int(site.url.rpartition(":")[2])), 10) as raw:
            raw.sendall(b"GET /../secret HTTP/1.0\r\n\r\n")
            assert raw.recv(1000).startswith(b"HTTP/1.1 404")


def test_wait_until_fails_with_what_was_seen() -> None:
    with pytest.raises(AssertionError, match="only this"):
        wait_until(lambda: False, 0.01, describe=lambda: "only this")
