"""Names of clips in a ZIP: for people, and short enough for every file system."""

import pytest

from worker_server.api.clip_names import clip_name, clip_names, stem_of

MAX_BYTES = 255  # of a name on ext4 and APFS


def names(stem: str, segment: str | None, number: int) -> str:
    part = {"number": number, "name": segment, "start_s": 3600.52, "end_s": 3620.52}
    (name,) = clip_names(stem, [part], number + 1)  # type: ignore[list-item] # what a name needs of a part
    return name


@pytest.mark.parametrize(
    ("task", "segment"),
    [
        ("a" * 200, "b" * 100),
        ("漢" * 200, "字" * 100),
        ("漢" * 200, "b" * 100),
        ("é" * 200, "🙂" * 100),
    ],
    ids=["ascii", "3 bytes", "mixed", "4 bytes"],
)
@pytest.mark.parametrize("number", [0, 19_999])
def test_longest_names_can_be_unpacked(task: str, segment: str, number: int) -> None:
    stem = stem_of(task)
    for name in (names(stem, segment, number), clip_name(stem, number, segment, number + 1)):
        assert len(name.encode()) <= MAX_BYTES
        assert name.startswith(task[:40])
        assert segment[:20] in name
        assert name.endswith(".mp4")


def test_short_names_are_whole() -> None:
    assert names("race", "The bet.", 1) == "race 02 01h00m00.52s-01h00m20.52s The bet.mp4"
    assert names("race", None, 1) == "race 02 01h00m00.52s-01h00m20.52s.mp4"
    assert names("race", " . ", 1) == "race 02 01h00m00.52s-01h00m20.52s.mp4"


@pytest.mark.parametrize("task", ["Episode 1.5", "Meeting 29.11", "2026.11.29", "Version 2.10"])
def test_digits_after_a_dot_are_no_extension(task: str) -> None:
    """Otherwise the ZIPs of episodes 1.5 and 1.6 have one name."""
    assert stem_of(task) == task
    assert stem_of(f"{task}.mp4") == task


@pytest.mark.parametrize(
    ("task", "stem"),
    [
        ("a\u2028b\u2029c", "a_b_c"),
        ("\u0085a\u009b2Jb", "_a_2Jb"),  # CSI: a terminal that lists the folder clears its screen
        ("invoice\u202efdp", "invoice_fdp"),
        ("\u2066a\u2069\u200eb\u200f\u061c", "_a_b_"),
        ("line\nfeed\x7f", "line_feed_"),
        ("क्\u200dष 👩\u200d👧", "क्\u200dष 👩\u200d👧"),  # joiners are part of words
    ],
)
def test_no_name_breaks_lines_or_reorders_them(task: str, stem: str) -> None:
    assert stem_of(task) == stem
    assert names("x", task, 0) == f"x 01 01h00m00.52s-01h00m20.52s {stem}.mp4"


@pytest.mark.parametrize(
    "task",
    [
        "con",
        "LPT1.mp4",
        "COM\N{SUPERSCRIPT ONE}",
        "lpt³.b",
        "CON .a b",
        "NUL  .x",
        "CONIN$",
        "conout$.x y",
    ],
)
def test_no_name_is_that_of_a_device(task: str) -> None:
    """As `ntpath.isreserved` of Python 3.13 has them; `STEM.zip` would not be a file on Windows."""
    assert stem_of(task)[0] == "_"


@pytest.mark.parametrize("task", ["CON x", "COM", "COM10", "CONIN", "AUX1.x y", "a CON"])
def test_name_that_only_resembles_a_devices_stays(task: str) -> None:
    assert stem_of(task) == task
