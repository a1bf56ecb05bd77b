"""The alerts speak of figures that there are."""

import re
from pathlib import Path

import pytest
import yaml
from flask import Flask

from idrl_common import health
from worker_server.api.metrics import WorkCollector
from worker_server.share_monitor import ShareMonitor

RULES = yaml.safe_load((Path(__file__).parents[1] / "monitoring" / "alerts.yml").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_what_is_measured(alert: dict[str, str]) -> None:
    [histogram] = health._seconds.describe()
    share = ShareMonitor(Path("/nowhere"), 0)
    gauges = WorkCollector(Flask("figures"), share, lambda: "none").describe()
    known = {f"{histogram.name}_{ending}" for ending in ("bucket", "count", "sum")}
    known |= {gauge.name for gauge in gauges}
    assert set(re.findall(r"idrl_\w+", alert["expr"])) <= known
    labels = {"job", "kind", "status", "endpoint", "service", "le", "step"}
    assert set(re.findall(r"(\w+)(?:=|!=)[~]?\"", alert["expr"])) <= labels
    assert alert["annotations"].keys() == {"summary", "what_to_do"}  # type: ignore[attr-defined]
