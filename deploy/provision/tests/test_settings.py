"""Settings and secrets: what is missing or wrong is named, and no secret is ever shown."""

import pytest

from deploy.provision.tests.fake_machine import SECRETS, SETTINGS, TOKEN, Cloud, Machine

NEEDED = [
    (role, name)
    for role, settings in SETTINGS.items()
    for name in settings
    if name != "idrl-revision"
]
WRONG = [
    ("web", "idrl-tasks-host", "worker internal"),
    ("web", "idrl-tasks-host", "http://worker"),
    ("web", "idrl-database-host", "-oProxyCommand=x"),
    ("web", "idrl-database-port", "five"),
    ("web", "idrl-database-sslmode", "on"),
    ("web", "idrl-database-name", "idrl;drop"),
    ("web", "idrl-revision", "../../etc"),
    ("worker", "idrl-first-worker", "yes"),
    ("worker", "idrl-secrets-url", "https://example.com/path"),
    ("file", "idrl-worker-subnet", "anybody"),
    ("file", "idrl-data-disk", "sdb"),
]


@pytest.mark.parametrize("role", SETTINGS)
def test_missing_settings_file_is_named(machine: Machine, role: str) -> None:
    done = machine.check(role)
    assert done.code == 1
    assert f"settings_missing: there is no {machine.etc}/machine.env" in done.output


@pytest.mark.parametrize(("role", "name"), NEEDED)
def test_a_missing_setting_is_named(machine: Machine, role: str, name: str) -> None:
    machine.write_settings({key: value for key, value in SETTINGS[role].items() if key != name})
    done = machine.check(role)
    assert done.code == 1
    assert f"setting_missing: not set for a {role} machine: {name} (" in done.output


def test_all_missing_settings_are_named_at_once(machine: Machine) -> None:
    machine.write_settings({"idrl-revision": "abc123"})
    names = "idrl-tasks-host idrl-file-host idrl-database-host"
    assert f"not set for a worker machine: {names} (" in machine.check("worker").output


@pytest.mark.parametrize(("role", "name", "value"), WRONG)
def test_a_wrong_setting_is_named(machine: Machine, role: str, name: str, value: str) -> None:
    machine.write_settings({**SETTINGS[role], name: value})
    done = machine.check(role)
    assert done.code == 1
    assert f"setting_invalid: {name} must be " in done.output
    assert value in done.output


def test_a_machine_of_another_role_is_left_alone(machine: Machine) -> None:
    machine.write_settings({**SETTINGS["file"], "idrl-role": "file"})
    assert "role_mismatch: idrl-role is file" in machine.check("web").output


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("FETCH_ALOW_HOSTS=10.0.0.5", "setting_unknown"),
        ("AUTH_RATE=$(id)", "setting_invalid"),
        ("FETCH_ALLOW_HOSTS=10.0.0.5 #,10.0.0.6", "setting_invalid"),
        ("FETCH_ALLOW_HOSTS=#10.0.0.5", "setting_invalid"),
        ("FETCH_ALLOW_HOSTS=10.0.0.5\t# ours", "setting_invalid"),
        ("go on", "setting_invalid"),
    ],
)
def test_a_wrong_setting_of_a_service_is_named(machine: Machine, line: str, code: str) -> None:
    role = "worker" if line.startswith("FETCH_ALLOW") else "web"
    machine.write_settings(SETTINGS[role], line)
    done = machine.check(role)
    assert done.code == 1
    assert code in done.output
    assert line.partition("=")[0] in done.output


@pytest.mark.parametrize("other", ["AUTH_RATE=6r/s", "AUTH_RATE=5r/s"])
def test_a_setting_of_a_service_that_is_given_twice_is_named(machine: Machine, other: str) -> None:
    machine.write_settings(SETTINGS["web"], "AUTH_RATE=5r/s", other)
    done = machine.check("web")
    assert done.code == 1
    assert "setting_invalid: given twice in idrl-settings: AUTH_RATE" in done.output


@pytest.mark.parametrize(
    ("role", "name"), [(role, name) for role, names in SECRETS.items() for name in names]
)
def test_a_missing_secret_is_named(machine: Machine, role: str, name: str) -> None:
    machine.write_settings(SETTINGS[role])
    machine.write_secrets(*(other for other in SECRETS[role] if other != name))
    done = machine.check(role)
    assert done.code == 1
    assert f"secret_missing: {name} is not in {machine.etc}/secrets.env" in done.output
    assert shows_no_secret(machine, done.output)


@pytest.mark.parametrize("role", SETTINGS)
def test_settings_and_secrets_from_files_are_complete(machine: Machine, role: str) -> None:
    machine.write_settings(SETTINGS[role])
    machine.write_secrets(*SECRETS[role])
    done = machine.check(role)
    assert done.code == 0, done.output
    assert shows_no_secret(machine, done.output)


@pytest.mark.parametrize(
    "value", ["tiny-7", "pass word of mine", "pa$$word-of-mine", "word@host/of-mine"]
)
def test_a_password_that_fits_no_address_is_refused(machine: Machine, value: str) -> None:
    machine.write_settings(SETTINGS["worker"])
    machine.secrets["idrl-redis-password"] = value
    machine.write_secrets(*SECRETS["worker"])
    done = machine.check("worker")
    assert done.code == 1
    assert "secret_invalid: idrl-redis-password" in done.output
    assert value not in done.output


def test_malformed_key_is_refused(machine: Machine) -> None:
    machine.write_settings(SETTINGS["worker"])
    machine.secrets["idrl-jwt-public-key"] = "MCowBQYDK2VwAyEA"
    machine.write_secrets(*SECRETS["worker"])
    done = machine.check("worker")
    assert "secret_invalid: idrl-jwt-public-key is not PEM text" in done.output
    assert shows_no_secret(machine, done.output)


def test_secrets_that_others_may_read_are_refused(machine: Machine) -> None:
    machine.write_settings(SETTINGS["worker"])
    machine.write_secrets(*SECRETS["worker"])
    (machine.etc / "secrets.env").chmod(0o644)
    assert "secrets_readable" in machine.check("worker").output


@pytest.mark.parametrize("role", SETTINGS)
def test_settings_and_secrets_from_metadata_are_complete(
    machine: Machine, cloud: Cloud, role: str
) -> None:
    cloud.attributes = {**SETTINGS[role], "idrl-role": role, "idrl-secrets-url": cloud.url}
    cloud.secrets = {name: machine.secrets[name] for name in SECRETS[role]}
    done = machine.check(role, cloud.url)
    assert done.code == 0, done.output
    assert shows_no_secret(machine, done.output)
    written = machine.etc / "machine.env"
    assert written.stat().st_mode & 0o777 == 0o600
    assert f"IDRL_ROLE={role}\n" in written.read_text()
    fetched = {path.split("/")[5] for path, _ in cloud.requests if path.startswith("/v1/")}
    assert fetched == set(SECRETS[role])


def test_the_clouds_further_settings_reach_the_file(machine: Machine, cloud: Cloud) -> None:
    cloud.attributes = {
        **SETTINGS["file"],
        "idrl-role": "file",
        "idrl-settings": "AUTH_RATE=9r/s\nAUTH_BURST=90",
    }
    assert machine.check("file", cloud.url).code == 0
    assert machine.shell("service_settings").output == "AUTH_RATE=9r/s\nAUTH_BURST=90\n"


def test_a_secret_without_a_version_is_named(machine: Machine, cloud: Cloud) -> None:
    cloud.attributes = {**SETTINGS["worker"], "idrl-role": "worker", "idrl-secrets-url": cloud.url}
    cloud.secrets = {
        name: machine.secrets[name] for name in SECRETS["worker"] if name != "idrl-redis-password"
    }
    done = machine.check("worker", cloud.url)
    assert done.code == 1
    assert "secret_missing: Secret Manager does not give idrl-redis-password" in done.output
    assert shows_no_secret(machine, done.output)


def shows_no_secret(machine: Machine, output: str) -> bool:
    lines = [
        line
        for value in machine.secrets.values()
        for line in value.splitlines()
        if "-----" not in line
    ]
    return not any(line in output for line in [*lines, TOKEN])


@pytest.mark.parametrize("name", ["idrl-first-worker", "idrl-settings", "idrl-database-sslmode"])
def test_an_attribute_that_is_not_answered_is_not_left_out(
    machine: Machine, cloud: Cloud, name: str
) -> None:
    """Without it, the machine would have the default of a setting that was given another value."""
    given = {**SETTINGS["worker"], "idrl-role": "worker", name: "0"}
    cloud.attributes = given | {"idrl-secrets-url": cloud.url}
    cloud.failing = {name}
    done = machine.check("worker", cloud.url)
    assert done.code == 1
    assert f"metadata_unreadable: {name}" in done.output
    assert not (machine.etc / "machine.env").exists()


def test_an_attribute_that_is_answered_late_is_waited_for(machine: Machine, cloud: Cloud) -> None:
    cloud.attributes = {**SETTINGS["file"], "idrl-role": "file", "idrl-settings": "LOG_LEVEL=ERROR"}
    cloud.failing_once = {"idrl-role", "idrl-worker-subnet", "idrl-settings"}
    done = machine.check("file", cloud.url)
    assert done.code == 0, done.output
    assert machine.shell("service_settings").output == "LOG_LEVEL=ERROR\n"
