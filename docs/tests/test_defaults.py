"""Defaults that documents name are those of the code and of the compose files."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter
from pydantic_settings import BaseSettings

from deploy.backups.settings import Settings as BackupSettings
from idrl_local import config, home, progress
from psg.settings import Settings as PsgSettings
from web_server.settings import Settings as WebSettings
from worker_server.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[2]
MACHINES: dict[str, type[BaseSettings] | None] = {
    "web-server": WebSettings,
    "worker-server": WorkerSettings,
    "psg": PsgSettings,
    "file-server": None,
}
# psg's example is for the database of its own compose file; the code's default is for `make up`.
ELSEWHERE = {("psg", "POSTGRES_HOST")}
MIB = 1024**2
UNITS = {"k": 1024, "m": MIB, "g": 1024 * MIB}


def _example(machine: str) -> dict[str, str]:
    """Return the values of the example, also those that are commented out; not the empty ones."""
    text = (ROOT / machine / ".env.example").read_text()
    return dict(re.findall(r"^#?([A-Z_]+)=(.+)$", text, re.MULTILINE))


def _defaults_of_compose(machine: str) -> dict[str, set[str]]:
    """Return the defaults that are not empty."""
    text = "".join(path.read_text() for path in (ROOT / machine).glob("*.yml"))
    defaults: dict[str, set[str]] = {}
    for name, value in re.findall(r"(?<!\$)\$\{([A-Z_]+):-([^}]+)\}", text):
        defaults.setdefault(name, set()).add(value)
    return defaults


def _wrong(machine: str) -> Iterator[str]:
    settings, composed = MACHINES[machine], _defaults_of_compose(machine)
    for name, text in _example(machine).items():
        field = settings.model_fields.get(name.lower()) if settings else None
        if composed.get(name, {text}) != {text}:
            yield f"{name}={text}, in compose files {composed[name]}"
        if not field and name not in composed:
            yield f"{name}={text} has no default elsewhere"
        if not field or field.is_required() or (machine, name) in ELSEWHERE:
            continue
        if TypeAdapter(field.rebuild_annotation()).validate_python(text) != field.default:
            yield f"{name}={text}, in settings.py {field.default}"


@pytest.mark.parametrize("machine", MACHINES)
def test_example_has_the_defaults(machine: str) -> None:
    assert _example(machine)
    assert list(_wrong(machine)) == []


def test_page_of_make_up_has_the_defaults() -> None:
    page = (ROOT / "local" / "README.md").read_text()
    rows = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| ([^|]*) \|", page, re.MULTILINE)
    stated = {
        name: value.strip("` ")
        for names, values in rows
        for name, value in zip(re.findall(r"[A-Z_]+", names), values.split(","), strict=False)
    }
    expected = {
        "PORT": str(home.DEFAULT_PORT),
        "START_TIMEOUT_S": f"{progress.start_timeout_s({}):g}",
        "FETCH_CONCURRENCY": str(WorkerSettings.model_fields["fetch_concurrency"].default),
        **config.LIMITS,
    }
    assert {name: stated.get(name) for name in expected} == expected


def test_page_of_backups_has_the_defaults() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    settings = BackupSettings.from_environment({"POSTGRES_PASSWORD": "x"})
    assert f"newest `BACKUP_KEEP` ({settings.keep}) that have all their files are kept" in page
    assert f"REMOTE_FOLDER={settings.share} deploy/backup" in page


def _memory_mib(machine: str) -> dict[str, int]:
    names = (ROOT / machine / "services.yml", ROOT / machine / "docker-compose.yml")
    file = next(path for path in names if path.exists())
    limits = {}
    for name, service in yaml.safe_load(file.read_text())["services"].items():
        value = re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", service["mem_limit"])
        limits[name] = int(value[:-1]) * UNITS[value[-1]] // MIB
    return limits


def test_a_worker_machine_without_swap_has_memory_for_all_limits() -> None:
    script = (ROOT / "deploy" / "provision" / "lib" / "memory.sh").read_text()
    expression = re.search(r"swap_below_kib=\$\(\((\d+) \* 1024 \* 1024\)\)", script)
    assert expression
    limits = _memory_mib("worker-server")
    containers = ("redis", "tasks", "worker-fetch", "worker-render", "beat")
    system_mib = 400
    assert sum(limits[name] for name in containers) + system_mib <= int(expression[1]) * 1024
    pages = [ROOT / "deploy" / each / "README.md" for each in ("provision", "gcp")]
    assert all(re.search(rf"(less than|below) {expression[1]} GiB", p.read_text()) for p in pages)


@pytest.mark.parametrize(
    ("machine", "containers"),
    [
        ("web-server", ["nginx", "web"]),
        ("worker-server", ["redis", "tasks", "worker-fetch", "worker-render", "beat"]),
        ("file-server", ["nfs"]),
        ("psg", ["postgres"]),
    ],
)
def test_table_of_machines_has_the_memory_limits(machine: str, containers: list[str]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    row = next(line for line in page.splitlines() if f"| `{machine}/` |" in line)
    limits = _memory_mib(machine)
    assert [int(each) for each in re.findall(r"\d+", row.split("|")[5])] == [
        limits[name] for name in containers
    ]
    assert all(name in row for name in containers)
