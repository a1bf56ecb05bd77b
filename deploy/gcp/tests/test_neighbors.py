"""What else is in the project stays as it is, and a wrong region makes nothing."""

import pytest

from deploy.gcp.tests.fake_project import FakeProject

pytestmark = pytest.mark.timeout(600)
OTHER = "idrl-analytics"


def test_teardown_leaves_other_databases_and_networks(fake_project: FakeProject) -> None:
    done = fake_project.up()
    assert done.code == 0, done.output
    database = {"name": OTHER, "settings": [{"deletion_protection_enabled": True}]}
    with fake_project.cloud.change() as project:
        project.resources[f"google_sql_database_instance/{OTHER}"] = database
        project.resources[f"google_compute_network/{OTHER}"] = {"name": OTHER}
        project.peerings[OTHER] = ["its-range"]
    done = fake_project.down()
    assert done.code == 0, done.output
    project = fake_project.project()
    assert project.peerings == {OTHER: ["its-range"]}
    assert project.resources == {
        f"google_sql_database_instance/{OTHER}": database,
        f"google_compute_network/{OTHER}": {"name": OTHER},
    }


@pytest.mark.parametrize("region", ["EU", "europe-west1-b"])
def test_an_unknown_region_makes_nothing(fake_project: FakeProject, region: str) -> None:
    done = fake_project.up(f"region={region}")
    assert (done.code, "region_invalid" in done.output) == (1, True)
    assert not fake_project.project().buckets
