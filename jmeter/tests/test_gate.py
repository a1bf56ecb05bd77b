"""Evaluation of results, on files as JMeter writes them."""

from collections.abc import Callable
from pathlib import Path

import gate
import pytest

_HEADER = (
    "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,"
    "bytes,sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect"
)
_LIMITS = gate.Limits(error_pct=0, p95_ms=100)

Write = Callable[..., list[gate.Sample]]


def line(
    label: str = "get",
    elapsed: int = 10,
    *,
    at: int = 0,
    users: int = 1,
    code: int = 200,
    message: str = "OK",
    failure: str = "",
    group: str = "users",
) -> str:
    success = "true" if code < 400 and not failure else "false"
    start = (
        f"{1_700_000_000_000 + at},{elapsed},{label},{code},{message},{group} 1-1,text,{success}"
    )
    return f'{start},"{failure}",1,1,{users},{users},http://127.0.0.1/,1,0,1'


@pytest.fixture
def results(tmp_path: Path) -> Write:
    """Writes a file of results and reads it."""

    def write(*lines: str) -> list[gate.Sample]:
        path = tmp_path / "results.jtl"
        path.write_text("\n".join([_HEADER, *lines]) + "\n", encoding="utf-8")
        return gate.read(path)

    return write


def test_good_results_are_within_the_limits(results: Write) -> None:
    (row,) = gate.by_label(results(line(elapsed=10), line(elapsed=30, at=970)), _LIMITS)
    assert (row.count, row.error_pct, row.p50_ms, row.p95_ms, row.max_ms, row.over) == (
        2,
        0,
        10,
        30,
        30,
        False,
    )
    assert row.per_s == 2


def test_one_failed_sample_is_over_the_limit(results: Write) -> None:
    samples = results(line(), line(code=500, message="Oops"), line("list"))
    get, listed = gate.by_label(samples, _LIMITS)
    assert (get.error_pct, get.over, listed.over) == (50, True, False)
    assert not gate.by_label(samples, gate.Limits(error_pct=50, p95_ms=100))[0].over


def test_failed_assertion_counts_despite_status_200(results: Write) -> None:
    samples = results(line(failure="Value expected\nto be 'done', but found 'failed'"))
    assert gate.by_label(samples, _LIMITS)[0].over
    assert list(gate.failures(samples, at_most=5)) == [
        "get: Value expected to be 'done', but found 'failed'"
    ]


def test_slow_calls_are_over_the_limit(results: Write) -> None:
    rows = gate.by_label(results(*[line(elapsed=10)] * 9, line(elapsed=101)), _LIMITS)
    assert rows[0].over
    assert not gate.by_label(results(*[line(elapsed=10)] * 19, line(elapsed=101)), _LIMITS)[0].over


def test_transaction_has_no_time_limit_but_may_not_fail(results: Write) -> None:
    message = "Number of samples in transaction : 9; number of failing samples : 0"
    assert not gate.by_label(results(line("whole journey", 9000, message=message)), _LIMITS)[0].over
    assert gate.by_label(
        results(line("whole journey", 9000, message=message, failure="x")), _LIMITS
    )[0].over


@pytest.mark.parametrize(("percent", "value"), [(50, 10), (95, 19), (100, 20)])
def test_percentiles_are_by_nearest_rank(percent: int, value: int) -> None:
    assert gate.percentile(list(range(1, 21)), percent) == value


def test_ramp_is_reported_by_concurrent_users(results: Write) -> None:
    samples = results(
        line("sign up", 5000, group="one task"),
        line(users=1, at=0),
        line(users=9, at=1000),
        line(users=16, at=2000, elapsed=500),
        line(users=15, at=2400, elapsed=200),
        line(users=2, at=60_000, elapsed=900),
    )
    bands = gate.by_users(samples, _LIMITS)
    assert [(band.name, band.count, band.over) for band in bands] == [
        ("1-2 users", 1, False),
        ("9-10 users", 1, False),
        ("15-16 users", 1, True),
    ]


def test_few_users_have_a_band_each(results: Write) -> None:
    assert [
        band.name for band in gate.by_users(results(line(users=1), line(users=2)), _LIMITS)
    ] == [
        "1 users",
        "2 users",
    ]


def test_call_without_a_sample_is_reported(results: Write) -> None:
    plan = Path(__file__).parents[1] / "plans" / "signup-login.jmx"
    assert gate.never_called(plan, results(line("sign up"))) == ["log in"]
    assert gate.never_called(plan, results(line("sign up"), line("log in"))) == []


def test_no_results_are_no_rows(results: Write) -> None:
    assert gate.by_label(results(), _LIMITS) == []
    assert gate.by_users(results(), _LIMITS) == []


def test_table_marks_figures_over_the_limit(results: Write) -> None:
    heading, good, bad = gate.table(
        "call", gate.by_label(results(line(), line("list", code=500)), _LIMITS)
    ).split("\n")
    assert heading.startswith("call ")
    assert not good.endswith("OVER")
    assert bad.endswith("OVER")
