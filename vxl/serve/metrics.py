"""What the server counts, for Prometheus to read at /metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """Numbers of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._answered = self._counter("requests", "Chat completions by the answer's status.", "status")
        self._tokens = self._counter("tokens", "Tokens of prompts and of answers.", "kind")
        self._found = self._counter(
            "contexts_found", "Where what was watched was found: memory, disk, none; or damaged.", "where"
        )
        self.watch_seconds = self._histogram("watch_seconds", "Watching, from decoding to prefill.")
        self.first_token_seconds = self._histogram(
            "first_token_seconds", "From a request's arrival to its first words."
        )
        self.request_seconds = self._histogram("request_seconds", "From a request's arrival to its end.")

    def answered(self, status: int) -> None:
        """Counts a request by the status of its answer; 499 where the client went before."""
        self._answered.labels(str(status)).inc()

    def took(self, prompt: int, cached: int, completion: int) -> None:
        """Counts the tokens of an answer: of the prompt, those that had been watched before apart."""
        for kind, count in (("prompt", prompt - cached), ("cached", cached), ("completion", completion)):
            self._tokens.labels(kind).inc(count)

    def found(self, where: str) -> None:
        """Counts where a context was found."""
        self._found.labels(where).inc()

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Shows a number that is read when it is asked for."""
        Gauge(f"vxl_{name}", text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All numbers, in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"vxl_{name}", text, [label], registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"vxl_{name}", text, buckets=SECONDS, registry=self.registry)
