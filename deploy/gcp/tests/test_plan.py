"""What the plan creates: exactly the expected resources."""

import json
from typing import Any

from deploy.gcp.tests.conftest import VARIABLES

Plan = dict[str, Any]


def values_of(plan: Plan, kind: str) -> list[dict[str, Any]]:
    """Return the planned values of every resource of a kind."""
    resources = plan["planned_values"]["root_module"]["resources"]
    return [resource["values"] for resource in resources if resource["type"] == kind]


def test_firewall_has_exactly_the_documented_rules(planned: Plan) -> None:
    rules = {rule["name"]: rule for rule in values_of(planned, "google_compute_firewall")}
    ports = {name: [allow["ports"] for allow in rule["allow"]] for name, rule in rules.items()}
    assert ports == {
        "idrl-web": [["443"]],
        "idrl-acme": [["80"]],
        "idrl-probes": [["5004"]],
        "idrl-tasks": [["5004"]],
        "idrl-worker": [["5004", "6379"]],
        "idrl-share": [["2049"]],
        "idrl-ssh": [["22"]],
        "idrl-no-database-for-file": [],
    }
    assert {allow["protocol"] for rule in rules.values() for allow in rule["allow"]} == {"tcp"}


def test_one_public_address(planned: Plan) -> None:
    assert [address["name"] for address in values_of(planned, "google_compute_address")] == [
        "idrl-web"
    ]
    public = [
        machine["name"]
        for machine in values_of(planned, "google_compute_instance")
        if any(card["access_config"] for card in machine["network_interface"])
    ]
    assert public == ["idrl-web"]
    assert not [
        machine
        for machine in values_of(planned, "google_compute_instance_template")
        if any(card["access_config"] for card in machine["network_interface"])
    ]


def test_no_right_in_the_project_but_to_write_logs(planned: Plan) -> None:
    kinds = {resource["type"] for resource in planned["planned_values"]["root_module"]["resources"]}
    assert {kind for kind in kinds if "_iam_" in kind} == {
        "google_artifact_registry_repository_iam_member",
        "google_secret_manager_secret_iam_member",
        "google_storage_bucket_iam_member",
        "google_project_iam_member",
    }
    granted = {grant["role"] for grant in values_of(planned, "google_project_iam_member")}
    assert granted == {"roles/logging.logWriter", "roles/monitoring.metricWriter"}
    images = values_of(planned, "google_artifact_registry_repository_iam_member")
    assert sorted(grant["role"] for grant in images) == [
        *("roles/artifactregistry.reader", "roles/artifactregistry.reader"),
        "roles/artifactregistry.writer",
    ]


def test_no_secret_is_stored(planned: Plan) -> None:
    assert VARIABLES["owner_password"] not in json.dumps(planned)
    # The one version made here holds the database's certificate, which is known after the change.
    (version,) = values_of(planned, "google_secret_manager_secret_version")
    assert version.get("secret_data") is None


def test_subnets_do_not_overlap_and_reach_google_apis(planned: Plan) -> None:
    subnets = values_of(planned, "google_compute_subnetwork")
    assert {subnet["name"]: subnet["ip_cidr_range"] for subnet in subnets} == {
        "idrl-web": "10.30.1.0/24",
        "idrl-worker": "10.30.2.0/24",
        "idrl-file": "10.30.3.0/24",
    }
    assert all(subnet["private_ip_google_access"] for subnet in subnets)
