"""Settings that the cloud or a machine would refuse are refused by the plan."""

from pathlib import Path

import pytest

from deploy.gcp.tests.conftest import Terraform, copy_module

WRONG = [
    ("alert_email", "me"),
    ("alert_email", "o'brien@example.org"),
    ("alert_email", "ops@example.org, me@example.org"),
    ("allowed_ranges", '["203.0.113.0/24", "2001:db8::/32"]'),
    ("region", "EU"),
    ("region", "europe-west1-b"),
    ("boot_disk_gb", "5"),
    ("data_disk_gb", "0"),
    ("data_disk_gb", "100.5"),
    ("snapshots_kept_days", "0"),
    ("database_disk_limit_gb", "0"),
    ("max_run_hours", "0.001"),
    ("settings", '{worker = {fetch_allow_hosts = "10.0.0.5"}}'),
    ("settings", '{web = {AUTH_RATE = "5r/s\\nAUTH_BURST=9"}}'),
    ("settings", '{web = {AUTH_RATE = "$5"}}'),
    ("settings", '{worker = {FETCH_ALLOW_HOSTS = "10.0.0.5 # ours"}}'),
]
RIGHT = [
    ("alert_email", "ops+idrl@example.org"),
    ("allowed_ranges", '["203.0.113.0/24", "198.51.100.7/32"]'),
    ("region", "northamerica-northeast1"),
    ("data_disk_gb", "1000"),
    ("max_run_hours", "0.5"),
    (
        "settings",
        '{worker = {FETCH_ALLOW_HOSTS = "10.0.0.5,videos.example"}, web = {AUTH_RATE = ""}}',
    ),
]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_module(tmp_path_factory.mktemp("settings"))


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_refused(
    terraform: Terraform, module: Path, name: str, value: str
) -> None:
    done = terraform(module, "plan", "-input=false", f"-var={name}={value}")
    assert done.returncode == 1, done.stdout
    assert "Invalid value for variable" in done.stderr
    assert f"{name} must " in " ".join(done.stderr.split())


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_a_right_setting_is_taken(
    terraform: Terraform, module: Path, name: str, value: str
) -> None:
    done = terraform(module, "plan", "-input=false", f"-var={name}={value}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("every", ['["1.2.3.4/0"]', '["0.0.0.0/1", "128.0.0.0/1"]'])
def test_plain_http_is_not_for_everybody(terraform: Terraform, module: Path, every: str) -> None:
    wrong = ("-var=tls=false", f"-var=allowed_ranges={every}")
    done = terraform(module, "plan", "-input=false", *wrong)
    assert done.returncode == 1, done.stdout
    assert "Without TLS" in done.stderr
