"""The files that provisioning writes, and the release it fetches."""

import hashlib
import subprocess

import pytest

from deploy.provision.tests.fake_machine import CHECKOUT, PROVISION, SETTINGS, Cloud, Machine

OWN = (
    "printf 'POSTGRES_PASSWORD=%s\\nWORKER_IMAGE=x\\n'"
    ' "$(password idrl-postgres-worker-password)"'
)


@pytest.fixture
def attributes(cloud: Cloud, file_release: bytes) -> dict[str, str]:
    """A file machine's settings for that release."""
    cloud.objects["/release.tar.gz"] = file_release
    cloud.attributes = {
        **SETTINGS["file"],
        "idrl-role": "file",
        "idrl-release-url": f"{cloud.url}/release.tar.gz",
        "idrl-release-sha256": hashlib.sha256(file_release).hexdigest(),
    }
    return cloud.attributes


def test_env_holds_own_and_further_settings_and_is_private(machine: Machine) -> None:
    machine.write_settings(SETTINGS["worker"], "RENDER_PRESET=fast", "AUTH_RATE=9r/s")
    machine.write_secrets("idrl-postgres-worker-password")
    target = machine.folder / "worker-server"
    target.mkdir()
    (target / ".env.example").write_text((CHECKOUT / "worker-server" / ".env.example").read_text())
    for _ in range(2):
        done = machine.shell(f"{OWN} | write_env {target}")
        assert (done.code, done.output) == (0, "")
    env = target / ".env"
    assert env.stat().st_mode & 0o777 == 0o600
    lines = [line for line in env.read_text().splitlines() if not line.startswith("#")]
    # AUTH_RATE is the web machine's.
    password = machine.secrets["idrl-postgres-worker-password"]
    assert lines == ["RENDER_PRESET=fast", f"POSTGRES_PASSWORD={password}", "WORKER_IMAGE=x"]


def test_further_settings_may_not_replace_own_ones(machine: Machine) -> None:
    machine.write_settings(SETTINGS["worker"], "WORKER_IMAGE=elsewhere")
    machine.write_secrets("idrl-postgres-worker-password")
    (machine.folder / ".env.example").write_text("WORKER_IMAGE=\n")
    done = machine.shell(f"{OWN} | write_env {machine.folder}")
    assert done.code == 1
    assert "setting_owned" in done.output
    assert "WORKER_IMAGE" in done.output


def test_a_database_that_must_prove_itself_needs_its_authority(machine: Machine) -> None:
    machine.write_settings({**SETTINGS["worker"], "idrl-database-sslmode": "verify-ca"})
    machine.secrets["idrl-postgres-ca"] = (
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"
    )
    machine.write_secrets("idrl-postgres-ca")
    done = machine.shell("write_ca; database_lines worker x; compose_file_line")
    file = machine.etc / "postgres-ca.pem"
    assert file.read_text() == machine.secrets["idrl-postgres-ca"]
    # The file is bind-mounted into containers: they see a change only if the inode stays.
    inode = file.stat().st_ino
    machine.secrets["idrl-postgres-ca"] += machine.secrets["idrl-postgres-ca"]
    machine.write_secrets("idrl-postgres-ca")
    assert machine.shell("write_ca").code == 0
    assert (file.read_text(), file.stat().st_ino) == (machine.secrets["idrl-postgres-ca"], inode)
    assert file.stat().st_mode & 0o777 == 0o644
    assert "COMPOSE_FILE=docker-compose.yml:ca.yml\n" in done.output
    assert "POSTGRES_SSLMODE=verify-ca\n" in done.output


def test_bootstrap_fetches_checks_and_runs_the_release(
    machine: Machine, cloud: Cloud, attributes: dict[str, str]
) -> None:
    for _ in range(2):
        done = machine.run(PROVISION / "bootstrap", "--check", metadata_url=cloud.url)
        assert done.code == 0, done.output
        assert "settings of a file machine are complete" in done.output
    assert (
        machine.opt / "releases" / attributes["idrl-revision"] / "deploy" / "provision" / "file"
    ).is_file()
    requests = [headers for path, headers in cloud.requests if path == "/release.tar.gz"]
    assert len(requests) == 1
    # The machine's token is for Google alone.
    assert "Authorization" not in requests[0]


def test_bootstrap_refuses_a_damaged_release(
    machine: Machine, cloud: Cloud, attributes: dict[str, str]
) -> None:
    attributes["idrl-release-sha256"] = "0" * 64
    done = machine.run(PROVISION / "bootstrap", metadata_url=cloud.url)
    assert done.code == 1
    assert "release_damaged" in done.output
    assert not (machine.opt / "releases" / attributes["idrl-revision"]).exists()


@pytest.mark.parametrize(
    "name", ["idrl-role", "idrl-revision", "idrl-release-url", "idrl-release-sha256"]
)
def test_bootstrap_names_what_is_missing(
    machine: Machine, cloud: Cloud, attributes: dict[str, str], name: str
) -> None:
    del attributes[name]
    done = machine.run(PROVISION / "bootstrap", metadata_url=cloud.url)
    assert done.code == 1
    assert f"setting_missing: not set: {name} (" in done.output


def test_bootstrap_refuses_an_unknown_role(
    machine: Machine, cloud: Cloud, attributes: dict[str, str]
) -> None:
    attributes["idrl-role"] = "../web"
    assert (
        "setting_invalid: idrl-role"
        in machine.run(PROVISION / "bootstrap", metadata_url=cloud.url).output
    )


def test_every_script_can_be_run() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "deploy/provision"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    modes = {line.split()[-1].removeprefix("deploy/provision/"): line.split()[0] for line in listed}
    for name in (
        "web",
        "worker",
        "file",
        "bootstrap",
        "compose",
        "guard-metadata",
        "guard-egress",
        "clamp-mss",
        "revision",
    ):
        assert modes[name] == "100755", name
