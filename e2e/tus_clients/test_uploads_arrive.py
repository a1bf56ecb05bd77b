"""Files that other people's tus clients send arrive whole, wherever their calls are cut off.

`make test-clients` starts the system (IDRL_HOME) and installs the clients (CLIENTS).
"""

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psutil
import pytest
from blackbox.client import Api
from tus_clients.cutting_proxy import Cut, CuttingProxy, Stage, cutting_proxy

from idrl_local.home import Home

MIB = 1024 * 1024
CLIENTS = Path(os.environ.get("CLIENTS", ".cache/clients")).resolve()
COMMANDS: dict[str, list[Path | str]] = {
    "tuspy": [CLIENTS / "venv/bin/python", Path(__file__).parent / "send_by_tuspy.py"],
    "tus-js-client": ["node", CLIENTS / "send_by_tus_js.js"],
}
CHUNK_BYTES = 2 * MIB
# A chunk that is cut off makes the client ask by HEAD how much of it has arrived.
CUTS = {
    "POST": [Cut(Stage.BEFORE_REQUEST), Cut(Stage.IN_HEADERS), Cut(Stage.BEFORE_ANSWER)],
    "HEAD": [
        *(Cut(Stage.BEFORE_REQUEST), Cut(Stage.IN_HEADERS)),
        *(Cut(Stage.BEFORE_ANSWER), Cut(Stage.IN_ANSWER)),
    ],
    "PATCH": [
        *(Cut(Stage.BEFORE_REQUEST), Cut(Stage.IN_HEADERS)),
        *(Cut(Stage.IN_BODY, 1), Cut(Stage.IN_BODY, 70_001), Cut(Stage.IN_BODY, CHUNK_BYTES - 99)),
        *(Cut(Stage.BEFORE_ANSWER), Cut(Stage.IN_ANSWER)),
    ],
}
WITH_FIRST_BYTES = {**CUTS, "POST": [*CUTS["POST"], Cut(Stage.IN_BODY, 70_001)]}


@pytest.fixture
def proxy(anonymous: Api) -> Iterator[CuttingProxy]:
    port = urlsplit(anonymous.base_url).port
    assert port
    with cutting_proxy(port) as running:
        yield running


@pytest.fixture
def home() -> Home:
    return Home(Path(os.environ["IDRL_HOME"]))


def new_file(path: Path, size_bytes: int) -> str:
    """Write a file of random bytes and return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for begin in range(0, size_bytes, 8 * MIB):
            piece = os.urandom(min(8 * MIB, size_bytes - begin))
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def send(
    client: str, api: Api, proxy: CuttingProxy, path: Path, chunk_bytes: int, *, extra: str = "no"
) -> str:
    """Have a client send a file, and return the upload's id."""
    options = [str(path), str(chunk_bytes), extra]
    done = subprocess.run(
        [*COMMANDS[client], proxy.url, *options],
        env={**os.environ, "TOKEN": str(api.token)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("/")[2]


def check(api: Api, home: Home, upload_id: str, path: Path, sha256: str) -> None:
    """The file on the share is the one that was sent, and the system says so."""
    with (home.share / "uploads" / upload_id).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256
    (upload,) = (each for each in api.get("/uploads").json() if each["upload_id"] == upload_id)
    sizes = (upload["length_bytes"], upload["offset_bytes"])
    assert (upload["name"], *sizes) == (path.name, *[path.stat().st_size] * 2)


@pytest.mark.parametrize("client", COMMANDS)
@pytest.mark.parametrize("extra", ["no", "yes"], ids=["plain", "extensions"])
def test_every_stage_is_cut_off_once(
    client: str, extra: str, api: Api, proxy: CuttingProxy, home: Home, tmp_path: Path
) -> None:
    """`extra` are the checksums of tuspy, and tus-js-client's bytes in the creating call."""
    path = tmp_path / "five chunks.mp4"
    # More than arrives by the calls that are cut off: the last cut needs one as well.
    sha256 = new_file(path, 5 * CHUNK_BYTES)
    has_first_bytes = extra == "yes" and client == "tus-js-client"
    leftovers = {
        name: list(cuts) for name, cuts in (WITH_FIRST_BYTES if has_first_bytes else CUTS).items()
    }
    proxy.next_cut = lambda method: leftovers[method].pop(0) if leftovers.get(method) else None
    upload_id = send(client, api, proxy, path, CHUNK_BYTES, extra=extra)
    check(api, home, upload_id, path, sha256)
    assert leftovers == {"POST": [], "HEAD": [], "PATCH": []}


def test_patch_is_named_in_a_header(
    api: Api, proxy: CuttingProxy, home: Home, tmp_path: Path
) -> None:
    path, methods = tmp_path / "posted.mp4", set[str]()
    sha256 = new_file(path, 2 * CHUNK_BYTES)
    cuts = [Cut(Stage.IN_BODY, 70_001)]

    def next_cut(method: str) -> Cut | None:
        methods.add(method)
        is_chunk = method == "POST" and proxy.body_bytes > 0
        return cuts.pop() if is_chunk and cuts else None

    proxy.next_cut = next_cut
    upload_id = send("tus-js-client", api, proxy, path, CHUNK_BYTES, extra="override")
    check(api, home, upload_id, path, sha256)
    assert (methods, cuts) == ({"POST", "HEAD"}, [])


@pytest.mark.parametrize("client", COMMANDS)
def test_tasks_service_is_killed_in_the_middle(
    client: str, api: Api, proxy: CuttingProxy, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "killed.mp4"
    sha256 = new_file(path, 24 * MIB)
    killed: list[int] = []

    def kill_once(passed_bytes: int) -> None:
        if passed_bytes > 10 * MIB and not killed:
            main = psutil.Process(home.lock("tasks").pid)
            killed.append(main.pid)
            for process in [main, *main.children(recursive=True)]:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    proxy.on_body = kill_once
    upload_id = send(client, api, proxy, path, 8 * MIB)
    check(api, home, upload_id, path, sha256)
    assert killed
    assert home.lock("tasks").pid not in killed


@pytest.mark.slow
@pytest.mark.parametrize("client", COMMANDS)
def test_300_mb_cut_off_twenty_times_at_random(
    client: str, api: Api, proxy: CuttingProxy, home: Home, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED", "1"))
    path, size_bytes = tmp_path / "large.mp4", 300 * 1000 * 1000
    sha256 = new_file(path, size_bytes)
    places = sorted(Random(seed).sample(range(size_bytes), 20))

    def next_cut(method: str) -> Cut | None:
        """Cut once this many bytes have been sent in all; a call that ends before is not cut."""
        if method != "PATCH" or len(proxy.cuts_made) == len(places):
            return None
        return Cut(Stage.IN_BODY, max(places[len(proxy.cuts_made)] - proxy.body_bytes, 1))

    proxy.next_cut = next_cut
    upload_id = send(client, api, proxy, path, 25 * MIB)
    check(api, home, upload_id, path, sha256)
    assert len(proxy.cuts_made) == len(places)
    print(f"{client}, seed {seed}: {size_bytes} bytes arrived whole, {len(proxy.cuts_made)} cuts,")
    print(f"  {proxy.body_bytes} bytes were sent; sha256 {sha256}")
