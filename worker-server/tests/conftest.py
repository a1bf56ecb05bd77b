"""The tasks service on a real database, Redis and share; tokens of its own key."""

import functools
import hashlib
import http.server
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import jwt
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient

from idrl_common import token_verifier as tokens
from idrl_testing.database import Database
from idrl_testing.http_servers import serving
from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server import app as app_module, brand_drafts, brand_making, readiness, storage
from worker_server.api import metrics
from worker_server.app import create_app
from worker_server.db import db
from worker_server.jobs import runtime as runtime_module
from worker_server.jobs.runtime import Runtime
from worker_server.media.branding import preview
from worker_server.queue import claims, leases, workers
from worker_server.queue.parts import Clip
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor

# Before the imports below, hence E402: pytest rewrites assertions of what is not imported yet.
pytest.register_assert_rewrite("worker_testing")
from brand_testing import Brands  # noqa: E402 # after the rewrite
from upload_testing import Uploads  # noqa: E402 # after the rewrite
from webhook_receiver import Receiver, listening  # noqa: E402 # after the rewrite

from worker_testing import SOURCE, URL, plan, post  # noqa: E402 # after the rewrite


@pytest.fixture(scope="session")
def private_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A share that is mounted."""
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / storage.MARKER).touch()
    return folder


@pytest.fixture
def settings(
    database: Database, redis_url: str, share: Path, tmp_path: Path, private_key: Ed25519PrivateKey
) -> Settings:
    public = (
        private_key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    return Settings(
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_db=database.name,
        postgres_user="worker",
        postgres_password=database.password,
        jwt_public_key=public,
        redis_url=redis_url,
        remote_folder=share,
        scratch_folder=tmp_path / "scratch",
        fetch_allow_hosts=frozenset({"127.0.0.1"}),
        heartbeat_s=0.1,
    )


@pytest.fixture
def long_status_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks of `/ready` take as long as a busy machine needs; ask for it before the app."""
    monkeypatch.setattr(app_module, "_PROBE_S", LIMIT_S)
    monkeypatch.setattr(app_module, "_READY_S", LIMIT_S)
    monkeypatch.setattr(metrics, "_DATABASE_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(ShareMonitor.check, "__defaults__", (LIMIT_S,))


@pytest.fixture
def lasting_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker or sweeper that had one heartbeat is alive for as long as a busy machine tests."""
    monkeypatch.setattr(workers, "ALIVE_S", LIMIT_S)
    monkeypatch.setattr(readiness, "_MIN_SWEEP_AGE_S", LIMIT_S)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The app, in its context."""
    app = create_app(settings)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def no_wakeups(redis_url: str) -> None:
    """No wake-up of another test is in Redis, or on its way there."""
    wait_until(lambda: not any(each.name == "wakeups" for each in threading.enumerate()))
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    client.close()


@pytest.fixture
def runtime(app: Flask) -> Iterator[Runtime]:
    """What a worker process keeps between two jobs."""
    runtime = runtime_module.attach(app)
    yield runtime
    runtime.warm_prober.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def token(private_key: Ed25519PrivateKey) -> Callable[..., str]:
    """Make a token; keyword arguments change its claims, and None leaves one out."""

    def make(user_id: int = 1, **changes: object) -> str:
        now = datetime.now(UTC)
        claims: dict[str, object] = {
            "sub": str(user_id),
            "user_id": user_id,
            "iss": tokens.ISSUER,
            "aud": tokens.AUDIENCE,
            "iat": now,
            "exp": now + timedelta(hours=1),
            "jti": uuid.uuid4().hex,
            **changes,
        }
        known = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(known, private_key, algorithm=tokens.ALGORITHM)

    return make


@pytest.fixture
def auth(token: Callable[..., str]) -> Callable[..., dict[str, str]]:
    """Make the headers of a call by a user."""
    return lambda user_id=1, **changes: {"Authorization": f"Bearer {token(user_id, **changes)}"}


@pytest.fixture
def finished(
    client: FlaskClient, auth: Callable[..., dict[str, str]], settings: Settings
) -> tuple[str, bytes]:
    """A task of user 1 with one clip: its id and the clip's bytes."""
    task_id = post(client, auth()).get_json()["task_id"]
    task = claims.claim_task("test", 30)
    assert task is not None
    leases.begin_processing(task.lease, SOURCE, "source", plan(1))
    part = claims.claim_part("test", 30)
    assert part is not None
    content = bytes(range(256)) * 40
    path = f"{task_id}/0.{part.lease.attempt}.mp4"
    (settings.remote_folder / task_id).mkdir()
    (settings.remote_folder / path).write_bytes(content)
    clip = Clip(path, len(content), hashlib.sha256(content).hexdigest(), 660, "copy")
    assert leases.finish_part(part.lease, clip)
    return task_id, content


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="session")
def site(site_folder: Path) -> Iterator[str]:
    """A third party's web site that serves `site_folder`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(site_folder))
    )
    with serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    """Run ffmpeg."""

    def run(*arguments: str) -> None:
        subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments], check=True, timeout=60
        )

    return run


@pytest.fixture(scope="session")
def sample(site_folder: Path, ffmpeg: Callable[..., None]) -> Callable[..., str]:
    """Make a video with sound and return its name on the site."""

    def make(seconds: float, size: str = "320x180", rate: int = 10) -> str:
        name = f"{seconds}-{size}-{rate}.mp4"
        if not (site_folder / name).exists():
            inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
            inputs += ["-f", "lavfi", "-i", f"sine=r=48000:d={seconds}"]
            encoding = [
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
            ]
            ffmpeg(*inputs, *encoding, str(site_folder / name))
        return name

    return make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A stranger's receiver of webhooks."""
    with listening() as receiver:
        yield receiver


@pytest.fixture
def uploads(client: FlaskClient, auth: Callable[..., dict[str, str]]) -> Uploads:
    """The uploads of user 1."""
    return Uploads(client, auth())


@pytest.fixture
def long_brand_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let brands and previews take as long as a busy machine needs."""
    monkeypatch.setattr(brand_making, "_NORMALIZE_S", LIMIT_S)
    monkeypatch.setattr(brand_making, "_NORMALIZE_VIDEO_S", LIMIT_S)
    monkeypatch.setattr(brand_drafts, "_WAIT_S", LIMIT_S)
    monkeypatch.setattr(preview, "_TIMEOUT_S", LIMIT_S)


@pytest.fixture
def brand_calls(
    client: FlaskClient,
    auth: Callable[..., dict[str, str]],
    long_brand_timeouts: None,  # noqa: ARG001 # for its effect
) -> Brands:
    """The calls of `/brands` of user 1."""
    return Brands(client, auth())


@pytest.fixture
def other_brand_calls(client: FlaskClient, auth: Callable[..., dict[str, str]]) -> Brands:
    """Those of user 2."""
    return Brands(client, auth(2))


@pytest.fixture
def post_manual(
    client: FlaskClient, auth: Callable[..., dict[str, str]]
) -> Callable[..., dict[str, Any]]:
    """Post a task that waits, planned, for its start; return its document."""

    def post_task(url: str = URL, **edit: object) -> dict[str, Any]:
        body = {"url": url, "start": "manual", "edit": edit}
        created = client.post("/tasks", json=body, headers=auth())
        assert created.status_code == 202, created.get_json()
        document: dict[str, Any] = created.get_json()
        return document

    return post_task


@pytest.fixture
def at_once(settings: Settings) -> Settings:
    """PostgreSQL has just been started by the test run: wait no lease after that.

    A round is late after ten minutes, and not since the test's machine is busy.
    """
    return settings.model_copy(update={"lease_s": 0.0, "sweep_s": 300.0})
