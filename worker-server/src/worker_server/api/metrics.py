"""The figures of the queue, read from the database at each scrape."""

from collections.abc import Callable, Iterator

from flask import Flask
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from worker_server.queue import backlog, signs
from worker_server.share_monitor import ShareMonitor

# Name, help and labels of each gauge.
_GAUGES = {
    "idrl_sandbox": ("1 for the level of the decoders' sandbox on this machine.", ["level"]),
    "idrl_work": ("Live tasks and unfinished parts.", ["kind", "status"]),
    "idrl_queue_oldest_seconds": ("How long the oldest due work has waited.", ["kind"]),
    "idrl_workers": ("Workers with a recent sign of life.", ["kind"]),
    "idrl_worker_faults": ("Live workers that met a fault of the system's own.", []),
    "idrl_last_sweep_timestamp_seconds": ("When a step of the sweeper last ended well.", ["step"]),
    "idrl_removals": ("Tasks whose files are still to be removed.", []),
    "idrl_share_free_bytes": ("Free bytes of the share.", []),
}
Samples = dict[str, dict[tuple[str, ...], float]]


class WorkCollector(Collector):
    """Gauges of work, workers, the sweeper, the share and the decoders' sandbox."""

    def __init__(self, app: Flask, share: ShareMonitor, sandbox_level: Callable[[], str]) -> None:
        self._app = app
        self._share = share
        self._sandbox_level = sandbox_level

    def collect(self) -> Iterator[Metric]:
        samples: Samples = {"idrl_sandbox": {(self._sandbox_level(),): 1}}
        free_bytes = self._share.prove().free_bytes
        if free_bytes is not None:
            samples["idrl_share_free_bytes"] = {(): free_bytes}
        try:
            with self._app.app_context():
                samples |= _samples()
        except SQLAlchemyError:
            pass  # the HTTP figures must still be scraped while the database is away
        for name, values in samples.items():
            family = _family(name)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def describe(self) -> Iterator[Metric]:
        """Describe the metrics without the database, which need not be up yet."""
        yield from map(_family, _GAUGES)


def _samples() -> Samples:
    liveness = signs.liveness()
    return {
        "idrl_work": {(*key,): count for key, count in backlog.count_by_status().items()},
        "idrl_queue_oldest_seconds": {(k,): age for k, age in backlog.oldest_due_s().items()},
        "idrl_workers": {(kind,): count for kind, count in liveness.workers.items()},
        "idrl_worker_faults": {(): len(liveness.faults)},
        "idrl_last_sweep_timestamp_seconds": {(s,): at for s, at in liveness.sweeps_at.items()},
        "idrl_removals": {(): backlog.count_removals()},
    }


def _family(name: str) -> GaugeMetricFamily:
    help_text, labels = _GAUGES[name]
    return GaugeMetricFamily(name, help_text, labels=labels)
