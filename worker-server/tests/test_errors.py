"""Failures carry documented codes, and count only where source or caller is at fault."""

from pathlib import Path

import fault_table
import pytest
import yaml

from worker_server.errors import Bound, FailureCode, Fault, WorkFailed, handling_of

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.yaml"


def test_failure_codes_are_the_documented_ones() -> None:
    document = yaml.safe_load(OPENAPI.read_text())
    codes = document["components"]["schemas"]["Failure"]["properties"]["code"]["enum"]
    assert sorted(codes) == sorted(FailureCode)


def test_table_of_faults_is_the_documented_one() -> None:
    assert fault_table.document() in (OPENAPI.parent / "operations.md").read_text()


def test_undocumented_code_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_code"):
        WorkFailed("no_such_code", "This code is not in the list.")


@pytest.mark.parametrize("code", list(FailureCode))
def test_share_and_internal_faults_never_fail_the_work(code: FailureCode) -> None:
    handling = handling_of(code)
    if handling.fault is Fault.INTERNAL or code in ("storage_full", "storage_unavailable"):
        assert handling.bound is Bound.NEVER
    assert WorkFailed(code, "").counted == handling.counted
