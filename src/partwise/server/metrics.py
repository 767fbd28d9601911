"""Metrics for Prometheus, over all worker processes.

With several workers their values are in shared memory (``shared_values.py``), and whichever answers ``/metrics`` adds
them up. What the metadata database, the disk and the supervisor know is asked then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from partwise.engine.engine import Engine
from partwise.server.shared_values import SharedRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of this process, and with ``shared`` those of the other workers, too.

    ``limits``: the value of each limit by the name of its setting. ``workers`` tells what the supervisor knows.
    """

    def __init__(
        self,
        limits: Mapping[str, float],
        *,
        shared: SharedRegistry | None = None,
        workers: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._limits = limits
        self._shared, self._workers = shared, workers
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("partwise_requests", "Requests answered", ["method", "status"], registry=registry)
        self.request_seconds = Histogram(
            "partwise_request_seconds", "Time of a request", ["method"], registry=registry, buckets=_SECONDS
        )
        self.in_flight = Gauge("partwise_requests_in_flight", "Requests being worked on", registry=registry)
        self.connections = Gauge("partwise_connections", "Open connections", registry=registry)
        self._problems = Counter("partwise_problems", "Requests refused or failed", ["type"], registry=registry)
        self._limit_hits = Counter(
            "partwise_limit_hits",
            "Times that a limit refused or removed something",
            ["setting"],
            registry=registry,
        )
        for setting in limits:  # a figure that appears with its first event looks like none to whoever asks for a rate
            self._limit_hits.labels(setting)
        self._attempts = Counter(
            "partwise_webhook_attempts", "Tries to send an event", ["endpoint", "outcome"], registry=registry
        )
        self.received = Counter("partwise_received_bytes", "Bytes of request bodies", registry=registry)
        self.sent = Counter("partwise_sent_bytes", "Bytes of answers", registry=registry)
        seconds = {
            "chunk": "Time from the first byte of a chunk to its record",
            "commit": "Time from a commit's begin to the artifact",
        }
        self._seconds = {
            name: Histogram(f"partwise_{name}_seconds", text, registry=registry, buckets=_SECONDS)
            for name, text in seconds.items()
        }

    def observe(self, what: str, seconds: float) -> None:
        """Metrics of the engine."""
        self._seconds[what].observe(seconds)

    def refuse(self, problem: str, setting: str | None) -> None:
        """A request was refused, or a connection before there was one: the problem's name, and the limit's, if any."""
        self._problems.labels(problem).inc()
        if setting is not None:
            self.limited(setting)

    def limited(self, setting: str, count: int = 1) -> None:
        """A limit was met so many times."""
        self._limit_hits.labels(setting).inc(count)

    def attempted(self, endpoint: str, outcome: str) -> None:
        """An event was sent to an endpoint: accepted, failed, dead or paused."""
        self._attempts.labels(endpoint, outcome).inc()

    async def render(self, engine: Engine) -> bytes:
        """Return all metrics in Prometheus's text format."""
        self._make_children()
        now = CollectorRegistry()
        now.register(_Given([*await _state(engine), self._limit_values(), *self._workers()]))
        return b"".join([await asyncio.to_thread(generate_latest, self._registry), generate_latest(now)])

    def _make_children(self) -> None:
        """Make the labelled values that other workers have, and this one has not, so that they are rendered."""
        if self._shared is None:
            return
        labelled: dict[str, Counter | Histogram] = {
            "partwise_requests": self.requests,
            "partwise_request_seconds": self.request_seconds,
            "partwise_problems": self._problems,
            "partwise_limit_hits": self._limit_hits,
            "partwise_webhook_attempts": self._attempts,
        }
        for metric, name, labels in self._shared.all_keys():
            if metric in labelled and not name.endswith("_bucket"):
                labelled[metric].labels(*labels)

    def _limit_values(self) -> Metric:
        limits = GaugeMetricFamily("partwise_limit", "The limits of the whole server", labels=["setting"])
        for setting, value in self._limits.items():
            limits.add_metric([setting], value)
        return limits


async def _state(engine: Engine) -> list[Metric]:
    """Metrics from the metadata database and the disk."""
    states, totals, space, deliveries = await asyncio.gather(
        engine.catalog.count_states(),
        engine.catalog.totals(),
        engine.storage.space(),
        engine.catalog.count_deliveries(),
    )
    uploads = GaugeMetricFamily("partwise_uploads", "Uploads by state", labels=["state"])
    for state, count in states.items():
        uploads.add_metric([state], count)
    disk = GaugeMetricFamily("partwise_storage_bytes", "Bytes of the storage", labels=["kind"])
    for kind, size in (("total", space.total), ("free", space.free), ("available", space.available)):
        disk.add_metric([kind], size)
    waiting = GaugeMetricFamily(
        "partwise_webhook_deliveries", "Events that an endpoint has not accepted yet", labels=["endpoint", "state"]
    )
    paused = GaugeMetricFamily("partwise_webhook_paused", "Endpoints that answered 410", labels=["endpoint"])
    for name, of in deliveries.items():
        waiting.add_metric([name, "pending"], of.pending)
        waiting.add_metric([name, "dead"], of.dead)
        paused.add_metric([name], of.paused)
    return [
        uploads,
        disk,
        waiting,
        paused,
        GaugeMetricFamily(
            "partwise_unhashed_bytes", "Received bytes that the digest followers have to read", totals.unhashed
        ),
        GaugeMetricFamily("partwise_undurable_chunks", "Chunks not yet certain to be on disk", totals.undurable_chunks),
        GaugeMetricFamily("partwise_artifacts", "Artifacts", totals.artifacts),
        GaugeMetricFamily("partwise_artifact_bytes", "Bytes of artifacts", totals.artifact_bytes),
    ]


class _Given(Collector):
    """Figures that have been looked up already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
