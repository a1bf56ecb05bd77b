"""The README's walk with curl works as it is printed, and says the same in both languages."""

import os
import re
import subprocess
import uuid
from pathlib import Path

from idrl_testing.site import Site

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    (make .*)$", re.MULTILINE)


def commands(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return INDENTED.findall(text) + BLOCK.findall(text)


def test_both_languages_have_the_same_commands() -> None:
    assert len(commands("README.md")) >= 9
    assert commands("README.md") == commands("README.es.md")


def test_the_walk_with_curl(site: Site, short_video: bytes, tmp_path: Path) -> None:
    first, *rest = BLOCK.findall((ROOT / "README.md").read_text())
    name = f"ana-{uuid.uuid4().hex[:12]}"
    # The system under test and a video it may fetch, in the place of the printed ones; and a new
    # person each time.
    base_url = os.environ.get("BASE_URL", "http://127.0.0.1:5050")
    here = f"export IDRL={base_url} VIDEO_URL={site.add('walk.mp4', short_video)}"
    walk = "\n".join([first, here, *rest])
    walk = walk.replace("ana@example.com", f"{name}@example.com").replace('"ana"', f'"{name}"')
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", walk],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert '"done"' in (tmp_path / "task.json").read_text()
    assert (tmp_path / "part-0.mp4").read_bytes()[4:8] == b"ftyp"
    assert '"deleted"' in done.stdout
