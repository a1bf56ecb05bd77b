"""Values that the containers' start scripts get: wrong ones are named, unusual ones work."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import redis
import yaml

from idrl_local import servers
from idrl_local.home import CHECKOUT
from idrl_testing.processes import running
from idrl_testing.waiting import LIMIT_S

NGINX_START = CHECKOUT / "web-server" / "nginx" / "start.sh"
RIGHT = {
    "TASKS_URL": "http://tasks:5004",
    "AUTH_RATE": "5r/s",
    "API_RATE": "30r/m",
    "AUTH_BURST": "20",
    "API_BURST": "400",
    "CONN_LIMIT": "200",
    "CLIP_CACHE_SIZE": "1g",
}
WRONG = [
    ("AUTH_RATE", "5"),
    ("API_RATE", "100 r/s"),
    ("API_RATE", "0r/s"),
    ("AUTH_BURST", "many"),
    ("API_BURST", "400;"),
    ("CONN_LIMIT", "0"),
    ("CLIP_CACHE_SIZE", "1 GB"),
    ("METRICS_FROM", "10.0.0.0/8,prometheus"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_nginx_does_not_start_with_a_wrong_setting_and_names_it(name: str, value: str) -> None:
    done = subprocess.run(
        ["sh", NGINX_START],
        env={"PATH": os.environ["PATH"], **RIGHT, name: value},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} must be ")
    assert value in done.stderr


@pytest.mark.parametrize(
    "password",
    ["plain", "two words", 'a"b', "a'b", '"', "#a", "a#b", "back\\slash", "$a%20b", "ñandú"],
)
def test_redis_takes_any_password(
    tmp_path: Path, binaries: servers.Binaries, password: str
) -> None:
    port = servers.free_port()
    (tmp_path / "given.conf").write_text(f"port {port}\nsave ''\n")
    services = yaml.safe_load((CHECKOUT / "worker-server" / "services.yml").read_text("utf-8"))
    script = services["services"]["redis"]["command"][2].replace("$$", "$")
    for old, new in {
        "/tmp/": f"{tmp_path}/",  # noqa: S108 # not opened; the first one, since others may lie there
        "/data/": f"{tmp_path}/",
        "/etc/idrl/redis.conf": str(tmp_path / "given.conf"),
        "/etc/idrl/to_json.sed": str(CHECKOUT / "common" / "to_json.sed"),
        "exec redis-server": f"exec {binaries.redis}",
    }.items():
        assert old in script
        script = script.replace(old, new)
    command = ["/usr/bin/env", f"REDIS_PASSWORD={password}", "sh", "-c", script]
    with running(command, tmp_path / "log.json") as process:
        servers.wait_for_port(port, process)
        client = redis.Redis(port=port, password=password)
        assert client.ping()
        client.close()
        process.terminate()
    assert not re.search(r"requirepass", (tmp_path / "log.json").read_text())
