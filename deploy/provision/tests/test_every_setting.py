"""Every setting of an app is passed on from a machine's settings to the container."""

import re
import runpy

import pytest
import yaml

from deploy.provision.tests.fake_machine import CHECKOUT, PROVISION, SECRETS, SETTINGS, Machine
from idrl_common.settings import AppSettings, variables_of
from idrl_testing.env_example import variables_in
from web_server.settings import Settings as WebSettings
from worker_server.settings import Settings as WorkerSettings

FOLDERS = {"web": "web-server", "worker": "worker-server"}
# What the image says, or a folder of the container; no operator's choice.
OF_THE_IMAGE = {
    *("REVISION", "OPENAPI_PATH", "PROCESS_FOLDER", "CLIP_CACHE_DISK"),
    *("REMOTE_FOLDER", "SCRATCH_FOLDER"),
}
# In compose files beside the usual ones: files that have to be made, and mounted.
OF_OVERLAYS = {"web": {"TASKS_CA"}, "worker": {"REDIS_CA"}}
# Each process of an app reads all settings: a variable that its container lacks counts as unset.
SERVICES = [
    ("web", "web"),
    *(("worker", name) for name in ("tasks", "worker-fetch", "worker-render", "beat")),
]
APPS: dict[str, type[AppSettings]] = {"web": WebSettings, "worker": WorkerSettings}


def services_of(role: str) -> dict[str, dict[str, object]]:
    text = (CHECKOUT / FOLDERS[role] / "services.yml").read_text()
    services: dict[str, dict[str, object]] = yaml.safe_load(text)["services"]
    return services


@pytest.mark.parametrize(("role", "service"), SERVICES)
def test_every_process_gets_every_setting(role: str, service: str) -> None:
    environment = services_of(role)[service]["environment"]
    assert isinstance(environment, dict)
    wanted = variables_of(APPS[role]) - OF_THE_IMAGE - OF_OVERLAYS[role]
    assert wanted - environment.keys() == set()


def read_by_compose(role: str, *names: str) -> set[str]:
    """Return the variables that compose files of the folder read: these, else all of them."""
    folder = CHECKOUT / FOLDERS[role]
    files = [folder / name for name in names] or sorted(folder.glob("*.yml"))
    names_used: set[str] = set()
    for file in files:
        text = file.read_text()
        names_used |= set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))
        names_used |= set(re.findall(r"^ +([A-Z_]+):$", text, re.MULTILINE))
    return names_used


def refused(machine: Machine, role: str, names: set[str]) -> set[str]:
    """Return which of these the role's script does not take from the machine's settings."""
    machine.write_settings(SETTINGS[role], *(f"{name}=1" for name in sorted(names)))
    machine.write_secrets(*SECRETS[role])
    done = machine.check(role)
    if done.code == 0:
        return set()
    assert "setting_owned: provisioning sets this itself" in done.output, done.output
    return set(done.output.rpartition(": ")[2].split())


@pytest.mark.parametrize("role", FOLDERS)
def test_every_setting_is_passed_on_or_refused(machine: Machine, role: str) -> None:
    """A setting that is taken and then ignored, or that contradicts the others, helps no one."""
    names = variables_in(CHECKOUT / FOLDERS[role] / ".env.example")
    owned = refused(machine, role, names)
    assert refused(machine, role, names - owned) == set()
    usual = read_by_compose(role, "docker-compose.yml", "services.yml")
    assert names - owned == usual - owned
    # Operators cannot choose ports (the firewall's) or files (which have to be created).
    ports = {name for name in names if name.endswith("_PORT")}
    assert ports | (read_by_compose(role) - usual) <= owned
    # What the script writes itself, no operator may set: else it would end only after packages and
    # images are installed.
    written = set(re.findall(r"\b([A-Z][A-Z_]+)=%s", (PROVISION / role).read_text()))
    assert written - {"FILE_SERVER"} <= owned


def test_staging_machines_have_all_settings_of_their_roles(machine: Machine) -> None:
    """The end-to-end tests serve sources and receive webhooks at addresses that are not public."""
    staging = runpy.run_path(str(CHECKOUT / "deploy" / "staging" / "expected.py"))
    for vm in (*staging["MACHINES"], staging["WORKER_2"]):
        further = vm.attributes.get("idrl-settings", "").split()
        own = {name: value for name, value in vm.attributes.items() if name != "idrl-settings"}
        machine.write_settings({**SETTINGS[vm.role], **own}, *further)
        machine.write_secrets(*SECRETS[vm.role])
        done = machine.check(vm.role)
        assert done.code == 0, done.output
        if vm.role == "worker":
            names_set = {line.partition("=")[0] for line in further}
            names = variables_of(WorkerSettings)
            assert {name for name in names if name.endswith("_ALLOW_HOSTS")} <= names_set
