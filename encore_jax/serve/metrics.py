"""What the server counts, in Prometheus' terms; one registry per server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from encore_jax.serve.batcher import Batcher, BatchReport
    from encore_jax.serve.connections import Connections
    from encore_jax.serve.service import Service

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Requests by path and status, seconds, texts, tokens with and without padding, and what waits."""

    def __init__(self):
        self.registry = CollectorRegistry()
        common = {"namespace": "encore", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered.", ("path", "status"), **common)
        self.seconds = Histogram(
            "request_seconds", "From a request's first byte to its answer.", ("path",), buckets=SECONDS, **common
        )
        self.running = Gauge("requests_running", "Requests that are not answered yet.", **common)
        self.texts = Counter("texts", "Texts scored.", **common)
        self.useful = Counter("tokens_useful", "Tokens run through the model, shared prefixes once.", **common)
        self.processed = Counter("tokens_processed", "The same with padding.", **common)
        self.batch_seconds = Histogram("batch_seconds", "One batch through the model.", buckets=SECONDS, **common)
        self._connections = Gauge("connections", "Connections that are open.", **common)
        self._closed = Counter("connections_closed", "Connections closed by this side.", ("reason",), **common)
        self._hidden = Gauge("texts_hidden", "Texts of which the chat template does not print every message.", **common)
        self._waiting = Gauge("tokens_waiting", "Tokens of texts that are not in a batch yet.", **common)

    def watch(self, batcher: Batcher) -> None:
        """Shows how much waits there."""
        self._waiting.set_function(lambda: batcher.waiting_tokens)

    def watch_texts(self, service: Service) -> None:
        """Shows of how many texts the chat template did not print every message."""
        self._hidden.set_function(lambda: service.hidden_texts)

    def watch_connections(self, connections: Connections) -> None:
        """Shows how many are open."""
        self._connections.set_function(lambda: len(connections))

    def closed(self, reason: str) -> None:
        """Counts a connection that this side closed; for `Connections`."""
        self._closed.labels(reason).inc()

    def batch(self, report: BatchReport) -> None:
        """Counts a batch; for `Batcher`."""
        self.texts.inc(report.texts)
        self.useful.inc(report.useful)
        self.processed.inc(report.processed)
        self.batch_seconds.observe(report.seconds)

    def text(self) -> bytes:
        """The page for Prometheus."""
        return generate_latest(self.registry)
