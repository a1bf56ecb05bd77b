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


def test_first_line_may_name_the_columns(tmp_path: Path) -> None:
    """As a spreadsheet writes it that was filled by the help of `--segments`."""
    (tmp_path / "s").write_text("start_s,end_s,name\n0,20,Lap\n")
    assert segments.read(tmp_path / "s") == [{"start_s": 0, "end_s": 20, "name": "Lap"}]


def test_lines_of_a_quoted_name_are_not_joined(tmp_path: Path) -> None:
    """The system then refuses the name, and says why."""
    (tmp_path / "s").write_text('0,20,"Lap\n1"\n')
    assert segments.read(tmp_path / "s")[0]["name"] == "Lap\n1"
