"""Alerts and the dashboard speak of figures that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from prometheus_client import Metric

from idrl_common import health
from idrl_common.health import ServiceCollector, Status
from web_server.views import LOGINS
from worker_server.api.metrics import WorkCollector
from worker_server.errors import FailureCode, Fault, handling_of
from worker_server.share_monitor import ShareMonitor

FOLDER = Path(__file__).parents[1] / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
EXPRESSIONS = [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]
# What Prometheus and the rules themselves add to the labels of a metric.
ADDED_LABELS = {"job", "instance", "what"}
OPERATORS = {Fault.MACHINE, Fault.SHARE, Fault.INTERNAL}


def described() -> list[Metric]:
    """Return every metric of both apps, without samples."""
    share = ShareMonitor(Path("/nowhere"), 0)
    return [
        *health._seconds.describe(),
        *LOGINS.describe(),
        *ServiceCollector(Status("web", "", {}), dict).describe(),
        *WorkCollector(Flask("figures"), share, lambda: "none").describe(),
    ]


def sample_names(metric: Metric) -> set[str]:
    endings = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
    return {metric.name + ending for ending in endings.get(metric.type, ("",))}


KNOWN = {name for metric in described() for name in sample_names(metric)}
LABELS = {"le", "check", "process", "service", "version", "revision", "method", "endpoint"} | {
    *("status", "kind", "host", "step", "store", "worker", "level", "code", "outcome", "direction"),
    *("rendered_by", "quality"),
}


def assert_is_measured(expression: str) -> None:
    assert set(re.findall(r"\bidrl_\w+", expression)) <= KNOWN
    chosen = set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', expression))
    grouped = {
        name
        for names in re.findall(r"by \(([^)]*)\)", expression)
        for name in re.split(r", ?", names)
    }
    assert chosen | grouped <= LABELS | ADDED_LABELS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_what_is_measured(alert: dict[str, Any]) -> None:
    assert_is_measured(alert["expr"])
    assert alert["annotations"].keys() == {"summary", "what_to_do"}
    assert alert["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_is_tested_and_explained(alert: dict[str, Any]) -> None:
    tests = (FOLDER / "alerts_test.yml").read_text("utf-8")
    fires = rf'labels: \'ALERTS{{alertname="{alert["alert"]}", alertstate="firing"'
    assert re.search(fires, tests)
    page = (FOLDER.parents[1] / "docs" / "operations.md").read_text("utf-8")
    assert f"| `{alert['alert']}` |" in page


def test_alert_of_own_failures_has_exactly_their_codes() -> None:
    [alert] = [alert for alert in ALERTS if alert["alert"] == "IdrlOwnFailures"]
    [codes] = re.findall(r'code=~"([^"]+)"', alert["expr"])
    assert set(codes.split("|")) == {
        code for code in FailureCode if handling_of(code).fault in OPERATORS
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_dashboard_shows_what_is_measured(expression: str) -> None:
    assert_is_measured(expression)


def test_dashboard_shows_every_metric() -> None:
    shown = set(re.findall(r"\bidrl_\w+", " ".join(EXPRESSIONS)))
    missing = {metric.name for metric in described() if not sample_names(metric) & shown}
    assert missing == {"idrl_work", "idrl_sandbox"}  # a deprecated name; one with an alert


def test_variables_that_the_monitoring_needs_are_explained() -> None:
    needed = re.findall(r"\$\{([A-Z_]+):\?", (FOLDER / "compose.yml").read_text("utf-8"))
    page = (FOLDER.parents[1] / "docs" / "operations.md").read_text("utf-8")
    assert needed
    assert all(f"`{name}`" in page for name in needed)


def test_prometheus_scrapes_both_apps() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    assert jobs == {"idrl-web": ["nginx-metrics:5050"], "idrl-tasks": ["tasks:5004"]}
    compose = yaml.safe_load((FOLDER / "compose.yml").read_text("utf-8"))
    address = compose["services"]["prometheus"]["networks"]["monitoring"]["ipv4_address"]
    assert compose["services"]["nginx"]["environment"]["METRICS_FROM"] == address
