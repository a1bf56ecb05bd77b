"""A setting whose name is misspelled has no effect, and `make up` says so before it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from idrl_local import servers
from idrl_local.home import CHECKOUT


def lines_of_up(home: Path, **environment: str) -> list[str]:
    """Return what a start prints that a wrong RENDER_CRF ends, without that last line."""
    port = str(servers.free_port() % 40000 + 2000)
    wrong = {"IDRL_HOME": str(home), "PORT": port, "RENDER_CRF": "99"}
    done = subprocess.run(
        [sys.executable, "-m", "idrl_local", "up"],
        env={**os.environ, **wrong, **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    *lines, last = done.stderr.splitlines()
    assert last.startswith("RENDER_CRF is wrong"), done
    return lines


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RENDER_CRFF", "RENDER_CRF"),
        ("RETENTION_DAY", "RETENTION_DAYS"),
        ("FETCH_ALLOWED_HOSTS", "FETCH_ALLOW_HOSTS"),
        ("TLS_CERTS", "TLS_CERT"),
        ("START_TIMEOUT", "START_TIMEOUT_S"),
        ("quota_live_task", "QUOTA_LIVE_TASKS"),
    ],
)
def test_misspelled_setting_is_named_with_the_one_that_is_meant(
    tmp_path: Path, name: str, meant: str
) -> None:
    expected = f"{name} is not a setting of idrl and has no effect: is {meant} meant?"
    assert lines_of_up(tmp_path / "home", **{name: "7"}) == [expected]


def test_variables_of_other_programs_are_not_mentioned(tmp_path: Path) -> None:
    foreign = ("HOSTNAME", "HOSTS", "LOGNAME", "RENDER_SERVICE_ID", "PGHOSTS", "RENDER_MEMORY")
    assert lines_of_up(tmp_path / "home", **dict.fromkeys(foreign, "7")) == []
