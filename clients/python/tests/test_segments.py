"""Files of segments as editors and spreadsheets save them."""

from pathlib import Path

import pytest

from idrl_client import segments


@pytest.mark.parametrize(
    "text",
    ["0,20,Lap\n", '[{"start_s": 0, "end_s": 20, "name": "Lap"}]', "# start, end\n0,20,Lap\n"],
)
def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "s").write_text(text, "utf-8-sig")
    assert segments.read(tmp_path / "s") == [{"start_s": 0, "end_s": 20, "name": "Lap"}]
