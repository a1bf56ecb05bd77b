"""Mistakes that `terraform validate` has to find, so that its success means something."""

from pathlib import Path

import pytest

from deploy.gcp.tests.conftest import Terraform, copy_module

# File, correct text, mistake, and the error that Terraform has to print.
NOT_EXPECTED = 'argument named "{}" is not expected'
MISTAKES = [
    ("network.tf", "auto_create_subnetworks", "auto_subnets", NOT_EXPECTED.format("auto_subnets")),
    ("workers.tf", "machine_type = var.machine_types.worker", "", '"machine_type" is required'),
    (
        "machines.tf",
        "enable_secure_boot  ",
        "enable_secure  ",
        NOT_EXPECTED.format("enable_secure"),
    ),
    (
        "machines.tf",
        "shielded_instance_config {",
        "shielded {",
        'Blocks of type "shielded" are not expected',
    ),
    ("machines.tf", "size  = var.boot_disk_gb", 'size  = "much"', "a number is required"),
    ("database.tf", "ipv4_enabled    = false", "ipv4_enabled    = []", "bool required"),
    ("database.tf", "retained_backups = 14", "retained = 14", NOT_EXPECTED.format("retained")),
    (
        "outputs.tf",
        "compute_address.web.address",
        "compute_address.web.addres",
        'attribute named "addres"',
    ),
    ("workers.tf", "= var.extra_workers", "= var.workers", "undeclared input variable"),
    (
        "database.tf",
        "password_wo         = var",
        "password            = var",
        "Ephemeral values are not valid",
    ),
]


def test_the_module_is_valid(terraform: Terraform, tmp_path: Path) -> None:
    done = terraform(copy_module(tmp_path), "validate")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "right", "wrong", "error"), MISTAKES)
def test_a_mistake_is_found(
    terraform: Terraform, tmp_path: Path, name: str, right: str, wrong: str, error: str
) -> None:
    file = copy_module(tmp_path) / name
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    done = terraform(file.parent, "validate")
    assert done.returncode == 1
    # Terraform breaks lines where they are long.
    assert error in " ".join(done.stderr.split())
