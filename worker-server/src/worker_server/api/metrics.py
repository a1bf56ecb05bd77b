"""The figures of the queue, counted in the database at each scrape."""

from collections.abc import Callable, Iterator

from flask import Flask
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from worker_server.queue import backlog


class WorkCollector(Collector):
    """How many live tasks and unfinished parts there are, by status; which sandbox this machine has."""

    def __init__(self, app: Flask, sandbox_level: Callable[[], str]) -> None:
        self._app = app
        self._sandbox_level = sandbox_level

    def collect(self) -> Iterator[Metric]:
        sandbox = _sandbox_family()
        sandbox.add_metric([self._sandbox_level()], 1)
        yield sandbox
        family = GaugeMetricFamily(
            "idrl_work", "Live tasks and unfinished parts.", labels=["kind", "status"]
        )
        try:
            with self._app.app_context():
                counts = backlog.count_by_status()
        except SQLAlchemyError:
            return  # the HTTP figures must still be scraped while the database is away
        for (kind, status), count in counts.items():
            family.add_metric([kind, status], count)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Describe the metrics without the database, which need not be up yet."""
        yield _sandbox_family()
        yield GaugeMetricFamily(
            "idrl_work", "Live tasks and unfinished parts.", labels=["kind", "status"]
        )


def _sandbox_family() -> GaugeMetricFamily:
    text = "1 for the level of the decoders' sandbox on this machine."
    return GaugeMetricFamily("idrl_sandbox", text, labels=["level"])
