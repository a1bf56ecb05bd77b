"""Typical mistakes are answered soon, by one sentence that says what to do."""

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from idrl_local import servers
from idrl_local.home import CHECKOUT, Home
from idrl_testing import site as web_site

# Processor time: other work of the machine does not count. On an idle machine it is the time that
# passes.
LIMIT_S = 3.0


def message(command: list[str], environment: Mapping[str, str]) -> str:
    """Run a command that must fail soon, and return the one line that it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < LIMIT_S
    (line,) = done.stderr.splitlines()
    return line


def idrl(*arguments: str, **environment: str) -> str:
    return message([sys.executable, "-m", "idrl_local", *arguments], environment)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("PORT", "http", "PORT must be a whole number, not 'http'"),
        ("PORT", "80", "PORT must be from 1024 to 65529, not 80"),
        ("PORT", "65530", "PORT must be from 1024 to 65529, not 65530"),
        ("HOST", "my-laptop", "HOST must be an IPv4 address"),
        ("START_TIMEOUT_S", "soon", "START_TIMEOUT_S must be a whole number"),
        ("RENDER_CRF", "99", "RENDER_CRF is wrong: Input should be less than or equal to 51"),
        ("RENDER_COPY", "maybe", "RENDER_COPY is wrong"),
        ("RENDER_PRESET", "fastest", "RENDER_PRESET is wrong: Input should be 'ultrafast', 'super"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is wrong: it is DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("FETCH_TIMEOUT_S", "inf", "FETCH_TIMEOUT_S is wrong"),
        ("RENDER_ENGINE", "vlc", "RENDER_ENGINE is wrong: Input should be 'ffmpeg' or 'moviepy'"),
        ("FETCH_ALLOW_HOSTS", "http://a/b", "FETCH_ALLOW_HOSTS has an entry"),
        ("HEARTBEAT_S", "20", "HEARTBEAT_S (20) must be at most half of LEASE_S"),
        ("CLIP_CACHE_SIZE", "much", "CLIP_CACHE_SIZE is wrong"),
        ("AUTH_RATE", "fast", "AUTH_RATE is wrong: it is a number of requests such as 10r/s"),
        ("API_RATE", "10", "API_RATE is wrong"),
        ("API_BURST", "-1", "API_BURST is wrong: it is a whole number from 1"),
        ("CONN_LIMIT", "many", "CONN_LIMIT is wrong: it is a whole number from 1"),
        ("LOGO_PATH", "README.md", "is not a picture that can be read"),
        ("LOGO_PATH", "no-logo.png", "no-logo.png: there is no such file"),
        ("LOGO_PATH", "my logo.png", "my logo.png: there is no such file"),
        ("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg", "ffmpeg cannot be run: IMAGEIO_FFMPEG_EXE=/now"),
    ],
)
def test_up_refuses_a_wrong_setting_before_it_starts(
    tmp_path: Path, setting: str, value: str, expected: str
) -> None:
    port = str(servers.free_port() % 40000 + 2000)
    environment = {"IDRL_HOME": str(tmp_path / "home"), "PORT": port, setting: value}
    assert expected in idrl("up", **environment)
    assert not (tmp_path / "home" / "data" / "postgres").exists()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PNG"])
def test_logo_that_the_encoder_cannot_draw_is_named(tmp_path: Path, kind: str) -> None:
    logo = tmp_path / "logo"
    first, second = (Image.new("RGB", (64, 36), colour) for colour in ("red", "blue"))
    animation = {"save_all": True, "append_images": [second]} if kind == "PNG" else {}
    first.save(logo, kind, **animation)
    expected = "is animated" if animation else "give a PNG, JPEG or WebP"
    port = str(servers.free_port() % 40000 + 2000)
    home = str(tmp_path / "home")
    assert expected in idrl("up", IDRL_HOME=home, PORT=port, LOGO_PATH=str(logo))


def test_ffmpeg_without_the_encoder_is_named(tmp_path: Path) -> None:
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text("#!/bin/sh\necho ' V....D mpeg4  MPEG-4'; echo ' A....D aac  AAC'\n")
    ffmpeg.chmod(0o755)
    environment = {"IDRL_HOME": str(tmp_path / "home"), "IMAGEIO_FFMPEG_EXE": str(ffmpeg)}
    line = idrl("up", PORT=str(servers.free_port() % 40000 + 2000), **environment)
    assert line.startswith(f"ffmpeg has no encoder libx264: IMAGEIO_FFMPEG_EXE={ffmpeg} names")


def test_read_only_home_is_named(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o ro tmpfs {tmp_path}; exec "$@"'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command = [*unshare, "sh", "-c", script, "sh", sys.executable, "-m", "idrl_local", "up"]
    line = message(command, {"IDRL_HOME": f"{tmp_path}/home"})
    assert line.endswith("set IDRL_HOME to a folder that you may write to")
    assert "Read-only file system" in line


def test_up_names_the_port_that_another_program_has(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        line = idrl("up", IDRL_HOME=str(tmp_path), PORT=str(min(port, 65529)))
    assert line.endswith("is taken; set PORT to the first of six free ports")


def test_user_namespace_without_the_user_is_named(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-m", "idrl_local", "up"]
    port = str(servers.free_port() % 40000 + 2000)
    line = message(command, {"IDRL_HOME": str(tmp_path / "home"), "PORT": port})
    assert line.startswith("RUN_AS=nobody: this user namespace has no uid")
    assert "outside of the namespace" in line


@pytest.mark.parametrize("left_kib", [0, 4, 40])
def test_full_disk_is_named(tmp_path: Path, left_kib: int) -> None:
    """The disk is a tmpfs in a name space of its own, filled up to `left_kib`."""
    fill = f"head -c {400 - left_kib}K /dev/zero > {tmp_path}/rest || true"
    script = f'mount -t tmpfs -o size=400k tmpfs {tmp_path}; {fill} 2>/dev/null; exec "$@"'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command = [sys.executable, "-m", "idrl_local", "up"]
    port = str(servers.free_port() % 40000 + 2000)
    line = message(
        [*unshare, "sh", "-c", script, "sh", *command],
        {"IDRL_HOME": f"{tmp_path}/home", "PORT": port},
    )
    assert "set IDRL_HOME to a folder" in line
    assert "space" in line


@pytest.mark.parametrize("command", ["up", "demo"])
def test_home_that_cannot_be_made_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    line = idrl(command, IDRL_HOME=str(tmp_path / "file" / "home"))
    assert "set IDRL_HOME to a folder that you may write to" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--video", "README.md"], "VIDEO=README.md is not a video"),
        (["--video", "docs"], "VIDEO=docs is a folder"),
        (["--video", "no.mp4"], "VIDEO=no.mp4: there is no such file"),
        (["--url", "a.example/v.mp4"], "is not a link that begins with http:// or https://"),
        (["--url", "ftp://a.example/v.mp4"], "is not a link that begins with"),
        (["--url", "http://[::1/v.mp4"], "is not a link"),
        (["--url", "http://a.invalid/v.mp4"], "the name a.invalid leads to no address"),
        (["--url", "http://127.0.0.1:1/v.mp4"], "FETCH_ALLOW_HOSTS=127.0.0.1 allows that"),
        (["--video", "a.mp4", "--url", "http://a.example/"], "are two sources"),
        (["--at", "http://127.0.0.1:1"], "give it a link"),
        (["--at", "http://127.0.0.1:1", "--url", "http://a.example/"], "no system answers at AT="),
    ],
)
def test_demo_refuses_what_it_cannot_make_clips_of(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    assert expected in idrl("demo", *arguments, IDRL_HOME=str(tmp_path), FETCH_ALLOW_HOSTS="")


def test_demo_names_an_empty_video(tmp_path: Path) -> None:
    video = tmp_path / "my talk.mp4"
    video.touch()
    line = idrl("demo", "--video", str(video), IDRL_HOME=str(tmp_path / "home"))
    assert line == f"VIDEO={video} is empty: copy or download it again"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("nothing.mp4", "answers 404"), ("page.mp4", "is a web page, not a video file")],
)
def test_demo_asks_the_site_first(tmp_path: Path, path: str, expected: str) -> None:
    with web_site.serve() as site:
        site.add("page.mp4", b"<html>", lambda request: request.send(200, b"<html>", HTML))
        url = f"{site.url}/{path}"
        line = idrl("demo", "--url", url, IDRL_HOME=str(tmp_path), FETCH_ALLOW_HOSTS="127.0.0.1")
    assert expected in line


HTML = {"Content-Type": "text/html; charset=utf-8"}


def test_demo_names_a_site_that_refuses_connections(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{servers.free_port()}/v.mp4"
    line = idrl("demo", "--url", url, IDRL_HOME=str(tmp_path), FETCH_ALLOW_HOSTS="127.0.0.1")
    assert line == f"URL={url} cannot be reached: connection refused"


@pytest.mark.parametrize(
    ("command", "services"), [("reload", "web or tasks or nginx"), ("restart", "web or tasks")]
)
def test_reload_and_restart_name_the_services(tmp_path: Path, command: str, services: str) -> None:
    home = str(tmp_path / "home")
    assert idrl(command, IDRL_HOME=home) == f"SERVICE must be {services}"
    assert idrl(command, "render", IDRL_HOME=home) == f"SERVICE must be {services}, not 'render'"
    assert idrl(command, "web", IDRL_HOME=home) == "the system is down: make up"


@pytest.mark.parametrize("prefix", [[], ["nohup"]])
def test_down_names_the_start_that_it_waits_for(tmp_path: Path, prefix: list[str]) -> None:
    home = Home(tmp_path / "home")
    home.create()
    down = [*prefix, sys.executable, "-m", "idrl_local", "down"]
    environment = {**os.environ, "IDRL_HOME": str(home.root)}
    with ExitStack() as stack:
        with home.lock("command").hold():
            process = stack.enter_context(
                subprocess.Popen(
                    down, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
            assert process.stderr
            line = process.stderr.readline()
            assert line.startswith("waiting for another `make up` or `make down`")
            if prefix:  # the terminal is closed
                process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=60)[0].startswith("idrl is down")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    "words", ["status", "logs --no-follow", "reload web", "restart web", "users list"]
)
def test_system_of_another_user_is_named(tmp_path: Path, words: str) -> None:
    """Python and the checkout may be closed to that user: capabilities go, the user id stays."""
    (tmp_path / "home").mkdir()
    for folder in ("run", "logs"):
        (tmp_path / "home" / folder).mkdir()
        os.chown(tmp_path / "home" / folder, 1, 1)
        (tmp_path / "home" / folder).chmod(0o700)
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=0", sys.executable]
    line = message(
        [*command, "-m", "idrl_local", *words.split()], {"IDRL_HOME": str(tmp_path / "home")}
    )
    assert line.endswith("is closed to you: be the user who started the system, or root")


def test_status_names_what_runs_on_without_supervisord(tmp_path: Path) -> None:
    """The out-of-memory killer may choose supervisord; the others then still serve."""
    (tmp_path / "run").mkdir()
    code = (
        "import pathlib, time; from idrl_local.pidlocks import PidLock\n"
        f"PidLock(pathlib.Path({str(tmp_path / 'run' / 'nginx.lock')!r})).acquire()\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    status = [sys.executable, "-m", "idrl_local", "status"]
    environment = {**os.environ, "IDRL_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as nginx:
        assert nginx.stdout
        assert nginx.stdout.readline() == "ready\n"
        done = subprocess.run(
            status, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        nginx.kill()
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("supervisord was killed; nginx run on from")


def test_logs_of_a_system_that_never_ran(tmp_path: Path) -> None:
    assert "`make up` starts the system" in idrl("logs", IDRL_HOME=str(tmp_path))


def test_logs_with_an_unknown_level(tmp_path: Path) -> None:
    assert "LEVEL=loud is none of DEBUG" in idrl("logs", "--level", "loud", IDRL_HOME=str(tmp_path))


def old_python(folder: Path) -> Path:
    """Return a program that answers as Python 3.9 does: few machines still have one."""
    program = folder / "python3.9"
    program.write_text('#!/bin/sh\ncase "$2" in *"< (3, 11)"*) exit 1;; *) echo 3.9;; esac\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("is_there", "expected"), [(True, "is 3.9"), (False, "there is no /nowhere/python3")]
)
def test_setup_names_a_python_that_is_too_old_or_missing(
    tmp_path: Path, is_there: bool, expected: str
) -> None:
    python = str(old_python(tmp_path)) if is_there else "/nowhere/python3"
    line = message(["local/make_venv.sh", python, str(tmp_path / "venv")], {})
    assert line.startswith("idrl needs Python 3.11 or newer")
    assert expected in line
    assert line.endswith("make setup PYTHON=python3.12")


def test_setup_names_the_network_that_it_lacks(tmp_path: Path) -> None:
    """The last line of pip was `No matching distribution found for uv==…`."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    no_network = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0"}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        ["make", "setup", f"VENV={tmp_path}"],
        env={**variables, **no_network, "PIP_CONFIG_FILE": os.devnull, "PIP_IGNORE_INSTALLED": "1"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2
    assert "downloads packages from the Python Package Index" in done.stderr.splitlines()[-2]


@pytest.mark.parametrize("fault", ["its Python is gone", "its making was interrupted"])
def test_setup_makes_a_broken_environment_again(tmp_path: Path, fault: str) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to("/nowhere/python3")
    if "interrupted" in fault:  # before pip is there, which takes most of the time
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", venv], check=True)
    command = ["local/make_venv.sh", sys.executable, str(venv)]
    for _ in range(2):  # the second time there is nothing to do
        subprocess.run(command, cwd=CHECKOUT, check=True, timeout=120, capture_output=True)
    version = subprocess.run(
        [venv / "bin" / "python", "-c", "import pip, sys; print(sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert version.strip() == str(sys.version_info[:2])
