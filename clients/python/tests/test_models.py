"""The models are those of the contract."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_models_are_written_from_the_contract() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate_models.py")]
    fresh = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    committed = (ROOT / "src" / "idrl_client" / "models.py").read_text()
    assert committed == fresh, "make client-models"
    assert "class TaskWithParts(TypedDict):" in committed
    assert "sha256: str | None" in committed
