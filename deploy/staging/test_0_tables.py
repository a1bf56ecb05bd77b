"""Firewall rules and secrets of the staging environment are those of deploy/gcp."""

import re

import expected
from harness.stack import CHECKOUT

GCP = CHECKOUT / "deploy" / "gcp"


def test_firewall_is_the_one_of_gcp() -> None:
    rule = r'\{ from = "(\w+)", to = "(\w+)", ports = \[([0-9", ]+)\] \}'
    rules = re.findall(rule, (GCP / "firewall.tf").read_text())
    between = {
        (source, target): {int(port) for port in re.findall(r"\d+", ports)}
        for source, target, ports in rules
    }
    links = {link: set(ports) for link, ports in expected.LINKS.items()}
    assert {
        link: ports for link, ports in links.items() if link[0] != "world" and link[1] != "database"
    } == between


def test_secrets_are_those_of_gcp() -> None:
    lists = re.findall(
        r"^    (\w+) += \[([^\]]+)\]", (GCP / "identity.tf").read_text(), re.MULTILINE
    )
    named_roles = {role: set(re.findall(r"idrl-[\w-]+", names)) for role, names in lists}
    # The database's certificate is made with the database; its clients may read it.
    roles = {
        role: names - {"idrl-postgres-ca"} for role, names in expected.SECRETS.items() if names
    }
    assert roles == named_roles
