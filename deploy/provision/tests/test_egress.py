"""The rules of the firewall that render workers are behind, as iptables-restore is given them."""

import pytest

from deploy.provision.tests.fake_machine import PROVISION, SETTINGS, Machine

GUARD = PROVISION / "guard-egress"


@pytest.fixture
def worker(machine: Machine) -> Machine:
    machine.program("iptables-restore", 'cat > "$CALLS"')
    machine.program("iptables", 'echo "$*" >> "$CALLS.later"; [ "$2" != --check ]')
    (machine.etc / "folder").write_text("worker-server\n")
    return machine


def rules(machine: Machine) -> list[str]:
    lines = machine.calls().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("*filter", ":IDRL-RENDER - [0:0]", "COMMIT")
    return lines[2:-1]


def test_first_worker_reaches_the_database_and_its_own_network(worker: Machine) -> None:
    worker.write_settings(SETTINGS["worker"])
    done = worker.run(GUARD)
    assert done.code == 0, done.output
    egress_rules = [rule for rule in rules(worker) if "--dport 53 " not in rule]
    assert egress_rules == [
        "-A IDRL-RENDER --match conntrack --ctstate ESTABLISHED,RELATED --jump RETURN",
        "-A IDRL-RENDER --out-interface idrl-render --jump RETURN",
        "-A IDRL-RENDER --destination 10.9.0.3 --protocol tcp --dport 5432 --jump RETURN",
        "-A IDRL-RENDER --jump REJECT",
    ]
    inserted = (worker.folder / "calls.later").read_text().splitlines()[-1]
    assert inserted == "--wait --insert DOCKER-USER --in-interface idrl-render --jump IDRL-RENDER"


def test_further_worker_reaches_the_first_ones_redis(worker: Machine) -> None:
    values = {"idrl-tasks-host": "10.9.0.7", "idrl-first-worker": "0", "idrl-database-port": "6432"}
    worker.write_settings(SETTINGS["worker"] | values)
    assert worker.run(GUARD).code == 0
    reached = [line.split()[3:8:2] for line in rules(worker) if "--protocol tcp" in line]
    assert reached == [["10.9.0.3", "tcp", "6432"], ["10.9.0.7", "tcp", "6379"]]


def test_rules_are_left_alone_where_a_name_is_unknown(worker: Machine) -> None:
    worker.write_settings(SETTINGS["worker"] | {"idrl-database-host": "no-such.invalid"})
    done = worker.run(GUARD)
    assert (done.code, worker.calls()) == (1, "")
    assert "host_unknown: no address is known for no-such.invalid" in done.output


def test_other_machines_have_no_render_workers(worker: Machine) -> None:
    (worker.etc / "folder").write_text("web-server\n")
    worker.write_settings(SETTINGS["web"])
    assert (worker.run(GUARD).code, worker.calls()) == (0, "")


def test_rules_follow_settings_of_a_machine_that_runs(machine: Machine) -> None:
    """An upgrade reloads the unit: another database, or a release with other rules."""
    machine.program("systemctl", "true")
    assert machine.shell("write_unit worker-server needs-share").code == 0
    lines = (machine.units / "idrl.service").read_text().splitlines()
    for guard in ("guard-metadata", "guard-egress", "clamp-mss"):
        before_start = [line.removeprefix("ExecStartPre=") for line in lines if guard in line]
        assert f"ExecReload={before_start[0]}" in lines
    reloads = [line for line in lines if line.startswith("ExecReload=")]
    assert reloads[-1].endswith("compose up -d --remove-orphans")
