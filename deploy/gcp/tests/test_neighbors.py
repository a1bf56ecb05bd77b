"""What else is in the project stays as it is, and a wrong region makes nothing."""

import pytest

from deploy.gcp.tests.stage import Stage

pytestmark = pytest.mark.timeout(600)
OTHER = "idrl-analytics"


def test_teardown_leaves_other_databases_and_networks(stage: Stage) -> None:
    done = stage.up()
    assert done.code == 0, done.output
    database = {"name": OTHER, "settings": [{"deletion_protection_enabled": True}]}
    with stage.cloud.change() as project:
        project.resources[f"google_sql_database_instance/{OTHER}"] = database
        project.resources[f"google_compute_network/{OTHER}"] = {"name": OTHER}
        project.peerings[OTHER] = ["its-range"]
    done = stage.down()
    assert done.code == 0, done.output
    project = stage.project()
    assert project.peerings == {OTHER: ["its-range"]}
    assert project.resources == {
        f"google_sql_database_instance/{OTHER}": database,
        f"google_compute_network/{OTHER}": {"name": OTHER},
    }


@pytest.mark.parametrize("region", ["EU", "europe-west1-b"])
def test_a_region_that_is_none_makes_nothing(stage: Stage, region: str) -> None:
    done = stage.up(f"region={region}")
    assert (done.code, "region_invalid" in done.output) == (1, True)
    assert not stage.project().buckets
