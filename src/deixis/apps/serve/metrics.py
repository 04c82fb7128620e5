"""What a monitoring system reads: counts and times of requests, batches, waiting, in the text form of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PIECES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of its own.

    Args:
        waiting: how many requests wait for the model or are with it.
        size: how many pictures the index holds.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, waiting: Callable[[], int], size: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("deixis_requests", "Requests answered.", ("route", "status"), registry=registry)
        self._seconds = Histogram(
            "deixis_request_seconds", "Time to answer.", ("route",), buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram(
            "deixis_batch_pieces",
            "Texts and pictures that went through the model together.",
            buckets=_PIECES,
            registry=registry,
        )
        queue = Gauge("deixis_queue", "Requests that wait for the model or are with it.", registry=registry)
        queue.set_function(waiting)
        index = Gauge("deixis_index_pictures", "Pictures in the index.", registry=registry)
        index.set_function(size)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One request.

        Args:
            route: the pattern of its address, never the address itself: there are few of them.
            status: of HTTP.
            seconds: it took.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, pieces: int) -> None:
        """One batch of so many texts and pictures."""
        self._batches.observe(pieces)

    def text(self) -> bytes:
        """All of it, as it is scraped."""
        return generate_latest(self._registry)
