"""TLS between the machines: each machine's .env has what its compose files ask for.

That nginx and both apps speak TLS with these settings is shown in local/tests.
"""

import re
from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import CHECKOUT, PROVISION, SECRETS, SETTINGS, Machine
from deploy.provision.tests.test_tls import DOCKER
from idrl_testing.tls import write_certificate

HOST = SETTINGS["worker"]["idrl-tasks-host"]
LINES = {
    "web": "tasks_lines; compose_file_line $(internal_tls_files web)",
    "worker": (
        "redis_lines x; listen_lines 10.0.2.4; compose_file_line $(internal_tls_files worker)"
    ),
}
TLS_SECRETS = {
    ("web", "1"): ["idrl-internal-ca"],
    ("worker", "0"): ["idrl-internal-ca"],
    ("worker", "1"): ["idrl-internal-ca", "idrl-internal-cert", "idrl-internal-key"],
}


def set_up(machine: Machine, role: str, first: str, name: str = HOST) -> None:
    """Write settings and secrets of a machine that speaks TLS with the others."""
    machine.write_settings({**SETTINGS[role], "idrl-internal-tls": "1", "idrl-first-worker": first})
    certificate, key = write_certificate(machine.folder, name)
    machine.secrets["idrl-internal-ca"] = certificate.read_text()
    machine.secrets["idrl-internal-cert"] = certificate.read_text()
    machine.secrets["idrl-internal-key"] = key.read_text()
    machine.write_secrets(*SECRETS[role], *TLS_SECRETS[role, first])


def env(machine: Machine, role: str) -> dict[str, str]:
    done = machine.shell(LINES[role])
    assert done.code == 0, done.output
    return dict(line.split("=", 1) for line in done.output.splitlines())


@pytest.mark.parametrize(("role", "first"), TLS_SECRETS)
def test_added_compose_file_finds_its_variables_and_files(
    machine: Machine, role: str, first: str
) -> None:
    set_up(machine, role, first)
    variables = env(machine, role)
    folder = CHECKOUT / f"{role}-server"
    base, *added = variables["COMPOSE_FILE"].split(":")
    assert base == "docker-compose.yml"
    (file,) = added
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", (folder / file).read_text()))
    assert needed
    assert needed <= variables.keys()
    assert machine.check(role).code == 0


def test_the_machines_agree_on_ports_and_names(machine: Machine) -> None:
    set_up(machine, "worker", "1")
    first = env(machine, "worker")
    # Only this machine reaches the ports without TLS.
    assert (first["TASKS_BIND"], first["REDIS_BIND"], first["TLS_BIND"]) == (
        *("127.0.0.1", "127.0.0.1"),
        "10.0.2.4",
    )
    assert first["REDIS_URL"] == "redis://:x@redis:6379/0"
    set_up(machine, "worker", "0")
    further = env(machine, "worker")
    assert further["REDIS_URL"] == f"rediss://:x@{HOST}:6380/0"
    # Google's health checks call its tasks service, and have no certificate.
    assert further["TASKS_BIND"] == "10.0.2.4"
    set_up(machine, "web", "1")
    assert env(machine, "web")["TASKS_URL"] == f"https://{HOST}:5443"
    ports = re.findall(r"_TLS_PORT:-(\d+)", (CHECKOUT / "worker-server" / "tls.yml").read_text())
    assert ports == ["5443", "6380"]


def test_env_is_unchanged_without_internal_tls(machine: Machine) -> None:
    machine.write_settings(SETTINGS["worker"])
    assert env(machine, "worker") == {
        "REDIS_PASSWORD": "x",
        "REDIS_URL": "redis://:x@redis:6379/0",
        "REDIS_BIND": "10.0.2.4",
        "TASKS_BIND": "10.0.2.4",
    }
    machine.write_settings(SETTINGS["web"])
    assert env(machine, "web") == {"TASKS_URL": f"http://{HOST}:5004"}


def install(machine: Machine) -> tuple[int, str]:
    machine.program("docker", DOCKER)
    done = machine.shell("write_internal_ca; install_internal_certificate")
    return done.code, done.output


def test_the_certificate_is_installed_for_the_service_tls(machine: Machine) -> None:
    set_up(machine, "worker", "1")
    code, output = install(machine)
    assert code == 0, output
    for path, name in (("tls/cert.pem", "cert"), ("tls/key.pem", "key"), ("internal-ca.pem", "ca")):
        text = (machine.etc / path).read_text()
        assert text.strip() == machine.secrets[f"idrl-internal-{name}"].strip()
    assert (machine.etc / "tls" / "key.pem").stat().st_mode & 0o777 == 0o400
    assert (machine.etc / "internal-ca.pem").stat().st_mode & 0o777 == 0o644
    assert "label=com.docker.compose.service=tls" in machine.calls()
    # For a change of authority both are trusted for a while; nginx of the web machine reads it.
    machine.secrets["idrl-internal-ca"] += machine.secrets["idrl-internal-ca"]
    machine.write_secrets(*SECRETS["worker"], *TLS_SECRETS["worker", "1"])
    inode = (machine.etc / "internal-ca.pem").stat().st_ino
    (machine.folder / "calls").unlink()
    assert install(machine)[0] == 0
    assert (machine.etc / "internal-ca.pem").stat().st_ino == inode
    assert "docker kill --signal HUP container-of-nginx" in machine.calls()
    assert sorted(path.name for path in machine.etc.glob("internal-ca*")) == ["internal-ca.pem"]


def test_an_authority_that_nginx_did_not_read_is_reloaded(machine: Machine) -> None:
    set_up(machine, "web", "1")
    machine.program(
        "docker", 'case $1 in ps) echo one ;; kill) echo kill >>"$CALLS"; exit 1 ;; esac'
    )
    assert machine.shell("write_internal_ca").code == 1
    machine.program("docker", 'case $1 in ps) echo one ;; kill) echo kill >>"$CALLS" ;; esac')
    assert machine.shell("write_internal_ca").code == 0
    assert machine.shell("write_internal_ca").code == 0
    assert machine.calls().splitlines() == ["kill", "kill"]


@pytest.mark.parametrize("cause", ["another_name", "another_authority", "another_key"])
def test_a_certificate_that_the_others_would_refuse_is_refused(
    machine: Machine, tmp_path: Path, cause: str
) -> None:
    set_up(machine, "worker", "1", "other.internal" if cause == "another_name" else HOST)
    (tmp_path / "other").mkdir()
    certificate, key = write_certificate(tmp_path / "other", HOST)
    if cause == "another_authority":
        machine.secrets["idrl-internal-ca"] = certificate.read_text()
    elif cause == "another_key":
        machine.secrets["idrl-internal-key"] = key.read_text()
    machine.write_secrets(*SECRETS["worker"], *TLS_SECRETS["worker", "1"])
    code, output = install(machine)
    assert (code, "certificate_invalid: idrl-internal-" in output) == (1, True), output
    assert not (machine.etc / "tls" / "cert.pem").exists()


def test_a_missing_secret_is_named(machine: Machine) -> None:
    set_up(machine, "worker", "1")
    for name in TLS_SECRETS["worker", "1"]:
        others = [other for other in TLS_SECRETS["worker", "1"] if other != name]
        machine.write_secrets(*SECRETS["worker"], *others)
        assert f"secret_missing: {name} is not in" in machine.check("worker").output


def test_the_name_in_the_certificate_is_no_address(machine: Machine) -> None:
    set_up(machine, "web", "1")
    machine.write_settings(
        {**SETTINGS["web"], "idrl-internal-tls": "1", "idrl-tasks-host": "10.0.2.4"}
    )
    assert "setting_invalid: with idrl-internal-tls" in machine.check("web").output


def test_render_workers_reach_redis_at_its_port_with_tls(machine: Machine) -> None:
    machine.program("iptables-restore", 'cat > "$CALLS"')
    machine.program("iptables", "true")
    (machine.etc / "folder").write_text("worker-server\n")
    metadata = {"idrl-tasks-host": "10.9.0.7", "idrl-first-worker": "0", "idrl-internal-tls": "1"}
    machine.write_settings(SETTINGS["worker"] | metadata)
    assert machine.run(PROVISION / "guard-egress").code == 0
    assert "--destination 10.9.0.7 --protocol tcp --dport 6380 " in machine.calls()
    assert "--dport 6379" not in machine.calls()
