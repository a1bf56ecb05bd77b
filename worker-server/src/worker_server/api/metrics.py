"""The figures of the queue, counted in the database at each scrape."""

from collections.abc import Iterator

from flask import Flask
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from worker_server.queue import backlog


class WorkCollector(Collector):
    """How many live tasks and unfinished parts there are, by status."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
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
        yield GaugeMetricFamily(
            "idrl_work", "Live tasks and unfinished parts.", labels=["kind", "status"]
        )
