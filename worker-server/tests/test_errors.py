"""Failures carry codes that are documented, and count only where the source or the caller is at fault."""

from pathlib import Path

import pytest
import yaml

from worker_server.errors import FailureCode, Fault, WorkFailed, handling_of

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.yaml"


def test_failure_codes_are_the_documented_ones() -> None:
    document = yaml.safe_load(OPENAPI.read_text())
    codes = document["components"]["schemas"]["Failure"]["properties"]["code"]["enum"]
    assert sorted(codes) == sorted(FailureCode)


def test_undocumented_code_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_code"):
        WorkFailed("no_such_code", "This code is not in the list.")


@pytest.mark.parametrize("code", list(FailureCode))
def test_faults_of_share_and_ours_are_not_counted(code: FailureCode) -> None:
    handling = handling_of(code)
    assert handling.counted == (handling.fault not in (Fault.SHARE, Fault.OURS))
    assert WorkFailed(code, "").counted == handling.counted
