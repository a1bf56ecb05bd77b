"""Prometheus metrics of tasks and workers, read from the database at each scrape."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

import redis
from flask import Flask
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from sqlalchemy.exc import SQLAlchemyError

from idrl_common.health import Prober
from worker_server.api import queries
from worker_server.queue import backlog, pauses, totals, webhooks, workers
from worker_server.queue.claims import Kind
from worker_server.queue.totals import Total, TotalMetric
from worker_server.share_monitor import ShareMonitor

# Name, help and labels of each gauge.
_GAUGES = {
    "idrl_sandbox": ("1 for the level of the decoders' sandbox on this machine.", ["level"]),
    "idrl_queue_length": ("Live tasks (fetch) and unfinished parts (render).", ["kind", "status"]),
    "idrl_work": ("Deprecated: idrl_queue_length under its name in 0.1.0.", ["kind", "status"]),
    "idrl_queue_oldest_seconds": ("How long the oldest due work has waited.", ["kind"]),
    "idrl_paused": ("1 while this kind of work is paused.", ["kind"]),
    "idrl_workers": ("Workers with a recent heartbeat.", ["kind"]),
    "idrl_worker_faults": ("Live workers that had an internal fault, or lack the share.", []),
    "idrl_worker_start_time_seconds": ("Latest start of a live worker.", ["kind", "host"]),
    "idrl_store_uptime_seconds": ("Uptime of PostgreSQL and Redis.", ["store"]),
    "idrl_last_sweep_timestamp_seconds": ("When a step of the sweeper last succeeded.", ["step"]),
    "idrl_removals": ("Tasks whose files are still to be removed.", []),
    "idrl_webhooks_oldest_seconds": ("How long the oldest event has waited for a sender.", []),
    "idrl_share_free_bytes": ("Free bytes of the share.", []),
    "idrl_scratch_free_bytes": ("Free bytes where a render worker makes clips.", ["worker"]),
}
_WORKER_KINDS = (*Kind, "sweeper")
# For all queries of a scrape together; Prometheus waits for ten seconds.
_DATABASE_TIMEOUT_S = 4
_KINDS = {"task": Kind.FETCH, "part": Kind.RENDER}
Samples = dict[str, dict[tuple[str, ...], float]]


class WorkCollector(Collector):
    """Metrics of tasks, workers, the sweeper, the stores, the share and the sandbox."""

    def __init__(
        self,
        app: Flask,
        share: ShareMonitor,
        sandbox_level: Callable[[], str],
        client: "redis.Redis | None" = None,
    ) -> None:
        self._app = app
        self._share = share
        self._sandbox_level = sandbox_level
        self._redis = client
        self._database = Prober(lambda: (_samples(), _count()))

    def collect(self) -> Iterator[Metric]:
        samples: Samples = {"idrl_sandbox": {(self._sandbox_level(),): 1}}
        free_bytes = self._share.check().free_bytes
        if free_bytes is not None:
            samples["idrl_share_free_bytes"] = {(): free_bytes}
        counted: list[Metric] = []
        try:
            of_database, counted = self._database.start(self._app).result(_DATABASE_TIMEOUT_S)
            samples |= of_database
        except (SQLAlchemyError, TimeoutError):
            pass  # the HTTP figures must still be scraped while the database is down or hangs
        if uptime_s := self._redis_uptime_s():
            samples.setdefault("idrl_store_uptime_seconds", {})[("redis",)] = uptime_s
        for name, values in samples.items():
            family = _gauge_family(name)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
        yield from counted

    def describe(self) -> Iterator[Metric]:
        """Describe the metrics without the database, which need not be up yet."""
        yield from map(_gauge_family, _GAUGES)
        yield from (_total_family(metric, {}) for metric in totals.ALL)

    def _redis_uptime_s(self) -> float | None:
        try:
            info = self._redis.info("server") if self._redis else {}
        except redis.RedisError:
            return None
        assert isinstance(info, dict)  # noqa: S101 # the library types sync and async calls alike
        return info.get("uptime_in_seconds")


def _samples() -> Samples:
    liveness = workers.liveness()
    work = backlog.count_by_status()
    return {
        "idrl_work": {(*key,): count for key, count in work.items()},
        "idrl_queue_length": {(_KINDS[kind], s): count for (kind, s), count in work.items()},
        "idrl_queue_oldest_seconds": {(k,): age for k, age in backlog.oldest_due_s().items()},
        "idrl_paused": {(kind,): is_paused for kind, is_paused in pauses.paused().items()},
        "idrl_workers": {(kind,): liveness.workers.get(kind, 0) for kind in _WORKER_KINDS},
        "idrl_worker_faults": {(): len(liveness.faults)},
        "idrl_worker_start_time_seconds": {(*of,): at for of, at in liveness.started_at.items()},
        "idrl_scratch_free_bytes": {(w,): size for w, size in liveness.scratch_free_bytes.items()},
        "idrl_store_uptime_seconds": {("postgres",): queries.database_uptime_s()},
        "idrl_last_sweep_timestamp_seconds": {(s,): at for s, at in liveness.sweeps_at.items()},
        "idrl_removals": {(): backlog.count_removals()},
        "idrl_webhooks_oldest_seconds": {(): webhooks.oldest_due_s()},
    }


def _count() -> list[Metric]:
    samples = totals.read()
    return [_total_family(metric, samples[metric.name]) for metric in totals.ALL]


def _gauge_family(name: str) -> GaugeMetricFamily:
    help_text, labels = _GAUGES[name]
    return GaugeMetricFamily(name, help_text, labels=labels)


def _total_family(
    metric: TotalMetric, samples: Mapping[tuple[str, ...], Sequence[Total]]
) -> Metric:
    if metric.buckets:
        return _histogram_family(metric, samples)
    family = CounterMetricFamily(metric.name, metric.help_text, labels=metric.labels)
    for labels, label_totals in {**dict.fromkeys(metric.initial, ()), **samples}.items():
        family.add_metric(labels, sum(total.amount for total in label_totals))
    return family


def _histogram_family(
    metric: TotalMetric, samples: Mapping[tuple[str, ...], Sequence[Total]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help_text, labels=metric.labels)
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    for labels, label_totals in samples.items():
        counts = [0] * len(bounds)
        for total in label_totals:
            counts[total.bucket] += total.count
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        family.add_metric(labels, buckets, sum(total.amount for total in label_totals))
    return family
