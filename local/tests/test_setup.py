"""What `make setup` needs of the machine."""

import importlib.util
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from idrl_local.home import CHECKOUT

SHOW = 'show-cache: ; @printf %s "$$UV_CACHE_DIR"'


def cache_of(**variables: str) -> str:
    """Return the folder that make names for uv's cache; nothing where uv's own will do."""
    names = ("UV_CACHE_DIR", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        ["make", "--silent", f"--eval={SHOW}", "show-cache"],
        env={**kept, **variables},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("folder", ["", ".cache", ".cache/uv"])
def test_a_home_of_ones_own_has_the_cache(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    assert cache_of(HOME=str(tmp_path)) == ""


def test_without_a_home_the_checkout_has_the_cache() -> None:
    """As for a container's user without an entry in passwd, or a service's."""
    assert cache_of(HOME="/nowhere") == str(CHECKOUT / ".cache" / "uv")


def test_a_cache_that_is_named_is_kept(tmp_path: Path) -> None:
    assert cache_of(HOME="/nowhere", UV_CACHE_DIR=str(tmp_path)) == str(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["", ".cache", ".cache/uv"])
def test_a_cache_of_another_user_is_not_used(closed: str) -> None:
    """`sudo make setup` leaves root's files in the home."""
    with tempfile.TemporaryDirectory() as name:  # below `tmp_path` it could not be entered
        home = Path(name)
        home.chmod(0o755)
        (home / closed).mkdir(parents=True, exist_ok=True)
        for folder in {home, home / ".cache"} - {home / closed}:
            if folder.exists():
                os.chown(folder, 65534, 65534)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-s"],
            input=(CHECKOUT / "local" / "can_cache.sh").read_text(),
            env={"PATH": os.environ["PATH"], "HOME": name},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == ""


@pytest.mark.parametrize(
    "module",
    [
        "gunicorn.workers.gthread",
        "moviepy",
        "worker_server.jobs.tasks",
        "worker_server.media.cutting.cutting_child",
        "worker_server.media.rendering.moviepy_child",
    ],
)
def test_what_services_and_children_import_is_compiled(module: str) -> None:
    """They may not write bytecode themselves; this process imports none of these modules."""
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.cached
    assert Path(spec.cached).exists()
