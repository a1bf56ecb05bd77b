"""The figures of the work itself, counted in the database when somebody asks."""

from collections.abc import Iterator

from flask import Flask
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from worker_server.api import services


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
                counts = services.count_by_status()
        except SQLAlchemyError:
            return  # the other figures are wanted most while the database is away
        for (kind, status), count in counts.items():
            family.add_metric([kind, status], count)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Say what there is without asking the database, which need not be up yet."""
        yield GaugeMetricFamily(
            "idrl_work", "Live tasks and unfinished parts.", labels=["kind", "status"]
        )
