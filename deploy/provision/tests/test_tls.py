"""The certificate of the web machine; a fake `docker` writes its arguments to a file.

`make test-vms` runs the real certbot with these arguments.
"""

from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import PROVISION, SETTINGS, Done, Machine

# Runs certbot by writing the files that it would, in the folder it would write them to.
DOCKER = """echo "docker $*" >>"$CALLS"
case "$*" in
*certonly*)
    [ ! -e "$REFUSED" ] || exit 1
    mkdir -p "$IDRL_ETC/letsencrypt/live/$NAME"
    for file in fullchain privkey; do
        echo "$file of the authority for $NAME" >"$IDRL_ETC/letsencrypt/live/$NAME/$file.pem"
    done
    ;;
*"--entrypoint id"*) id -u ;;
"ps "*) echo container-of-nginx ;;
# As where it is being started again.
"kill "*) [ ! -e "$NGINX_AWAY" ] ;;
esac"""


def certificate(machine: Machine, name: str, **settings: str) -> Done:
    metadata = {f"idrl-{key.replace('_', '-')}": value for key, value in settings.items()}
    machine.write_settings({**SETTINGS["web"], "idrl-tls-name": name, **metadata})
    machine.program("docker", DOCKER)
    (machine.opt / "releases" / "one").mkdir(parents=True, exist_ok=True)
    if not (machine.opt / "current").is_symlink():
        (machine.opt / "current").symlink_to("releases/one")
    variables = {
        "NAME": name,
        "REFUSED": str(machine.folder / "refused"),
        "NGINX_AWAY": str(machine.folder / "nginx-away"),
    }
    return machine.run(PROVISION / "certificate", **variables)


@pytest.mark.parametrize(
    ("name", "requested"),
    [
        ("203.0.113.7", "--ip-address 203.0.113.7 --preferred-profile shortlived"),
        ("clips.example.org", "--domain clips.example.org"),
    ],
)
def test_the_certificate_is_for_the_name(machine: Machine, name: str, requested: str) -> None:
    done = certificate(machine, name)
    assert done.code == 0, done.output
    (call,) = [line for line in machine.calls().splitlines() if "certonly" in line]
    assert requested in call
    assert "--webroot --webroot-path /acme" in call
    assert f"--volume {machine.etc}/tls/acme:/acme" in call
    assert "--server https://acme-v02.api.letsencrypt.org/directory" in call
    assert (
        machine.etc / "tls" / "cert.pem"
    ).read_text() == f"fullchain of the authority for {name}\n"
    key = machine.etc / "tls" / "key.pem"
    assert (key.read_text(), key.stat().st_mode & 0o777) == (
        f"privkey of the authority for {name}\n",
        0o400,
    )
    assert "docker kill --signal HUP container-of-nginx" in machine.calls()


def test_nginx_is_left_alone_while_the_certificate_is_the_same(machine: Machine) -> None:
    certificate(machine, "clips.example.org")
    (machine.folder / "calls").unlink()
    # A container has the file itself, so that another one in its place would not be seen.
    inode = (machine.etc / "tls" / "cert.pem").stat().st_ino
    assert certificate(machine, "clips.example.org").code == 0
    assert "kill" not in machine.calls()
    assert certificate(machine, "other.example.org").code == 0
    assert (machine.etc / "tls" / "cert.pem").stat().st_ino == inode


def test_a_certificate_that_nginx_did_not_read_is_reloaded(machine: Machine) -> None:
    certificate(machine, "clips.example.org")
    (machine.folder / "nginx-away").touch()
    assert certificate(machine, "other.example.org").code == 1
    (machine.folder / "nginx-away").unlink()
    (machine.folder / "calls").unlink()
    assert certificate(machine, "other.example.org").code == 0
    assert "docker kill --signal HUP container-of-nginx" in machine.calls()
    (machine.folder / "calls").unlink()
    assert certificate(machine, "other.example.org").code == 0
    assert "kill" not in machine.calls()


def test_a_refused_certificate_leaves_the_old_one(machine: Machine) -> None:
    certificate(machine, "clips.example.org")
    (machine.folder / "refused").touch()
    done = certificate(machine, "clips.example.org")
    assert done.code == 1
    assert "certificate_not_issued: no certificate for clips.example.org" in done.output
    assert (machine.etc / "tls" / "cert.pem").read_text().startswith("fullchain")


def test_acme_server_and_email_can_be_set(machine: Machine) -> None:
    (machine.etc / "acme-ca.pem").touch()
    server = "https://acme.internal:14000/dir"
    done = certificate(machine, "clips.internal", acme_server=server, tls_email="ops@example.org")
    assert done.code == 0, done.output
    (call,) = [line for line in machine.calls().splitlines() if "certonly" in line]
    assert f"--server {server}" in call
    assert "--email ops@example.org" in call
    assert f"--volume {machine.etc}/acme-ca.pem:/acme-ca.pem:ro" in call
    assert "--env REQUESTS_CA_BUNDLE=/acme-ca.pem" in call


def test_nginx_starts_before_there_is_a_certificate(machine: Machine) -> None:
    machine.write_settings({**SETTINGS["web"], "idrl-tls-name": "clips.example.org"})
    machine.program("docker", DOCKER)
    assert machine.shell("prepare_tls").code == 0
    folder: Path = machine.etc / "tls"
    first = {path.name: path.read_text() for path in folder.glob("*.pem")}
    assert first.keys() == {"cert.pem", "key.pem"}
    assert machine.shell("prepare_tls").output == ""
    assert {path.name: path.read_text() for path in folder.glob("*.pem")} == first


def test_plain_http_stays_on_the_machine(machine: Machine) -> None:
    machine.write_settings({**SETTINGS["web"], "idrl-database-sslmode": "verify-ca"})
    lines = machine.shell(
        "database_lines web x; tls_lines; compose_file_line tls.yml"
    ).output.splitlines()
    assert "COMPOSE_FILE=docker-compose.yml:ca.yml:tls.yml" in lines
    assert "PORT=127.0.0.1:5050" in lines
    assert f"TLS_CERT={machine.etc}/tls/cert.pem" in lines
    assert f"ACME_WEBROOT={machine.etc}/tls/acme" in lines
    assert len([line for line in lines if line.startswith("COMPOSE_FILE=")]) == 1
