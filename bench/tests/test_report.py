"""What is printed and kept of a run."""

import json
from pathlib import Path

from bench.paired import Ratio
from bench.registry import NAMES, benchmark
from bench.report import Comparison, Report, Table, missed_goals, write

_RATIO = Ratio(1.02, 1.01, 1.04, 5)


def test_missed_goal_is_reported() -> None:
    missed = Comparison("ours / by hand, CPU", _RATIO, at_most=1.01)
    assert missed.is_reached is False
    assert "NOT reached" in Report(comparisons=[missed]).text()


def test_goals_are_held_against_the_median() -> None:
    assert Comparison("most", _RATIO, at_most=1.03).is_reached is True
    assert Comparison("least", _RATIO, at_least=1.02).is_reached is True
    assert Comparison("least", _RATIO, at_least=1.03).is_reached is False
    assert Comparison("neither", _RATIO).is_reached is None


def test_missed_goals_are_listed_with_figure_and_bound() -> None:
    missed = Comparison("CPU", _RATIO, at_most=1.01)
    reached = Comparison("wall", _RATIO, at_least=1.0)
    reports = {"render": Report(comparisons=[missed, reached])}
    assert missed_goals(reports) == "Goals missed:\n- render: CPU: 1.02, ≤ 1.01"
    assert missed_goals({"render": Report(comparisons=[reached])}) == "All goals reached."


def test_table_columns_are_aligned() -> None:
    table = Table("Renderers", ("method", "CPU s"), [("by hand", 12.3456), ("ours", 13)])
    assert table.text() == (
        "Renderers\n\n| method  | CPU s |\n|---------|-------|"
        "\n| by hand | 12.35 |\n| ours    | 13    |"
    )


def test_a_run_is_kept_with_machine_and_versions(tmp_path: Path) -> None:
    report = Report(
        comparisons=[Comparison("speed", _RATIO, at_most=1.03)], figures={"wall_s": [1.234567891]}
    )
    path = write({"render": report}, tmp_path / "results", "2026-01-31")
    assert path == tmp_path / "results" / "2026-01-31.json"
    report = json.loads(path.read_text())
    assert report["machine"]["cores"] >= 1
    assert {"ffmpeg", "moviepy", "celery"} <= report["versions"].keys()
    kept = report["benchmarks"]["render"]
    assert kept["figures"] == {"wall_s": [1.2346]}
    assert kept["comparisons"][0]["ratio"] == {
        "median": 1.02,
        "low": 1.01,
        "high": 1.04,
        "pairs": 5,
    }
    assert kept["comparisons"][0]["reached"] is True


def test_every_registered_name_is_a_benchmark() -> None:
    assert all(callable(benchmark(name)) for name in NAMES)
