"""What the server counts, for Prometheus."""

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ServerMetrics:
    """Counters and histograms in a registry of their own, so that several servers may be tested.

    Raises:
        ImportError: If prometheus_client is not installed.
    """

    def __init__(self):
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise ImportError(
                "The server's metrics need prometheus_client: pip install 'kerasllm[serving]'."
            ) from error
        self._prometheus = prometheus
        self._registry = registry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "kerasllm_requests", "Requests to /predict.", ["status"], registry=registry
        )
        self.texts = prometheus.Counter("kerasllm_texts", "Texts classified.", registry=registry)
        self.labels = prometheus.Counter(
            "kerasllm_labels", "Texts by the label that they got.", ["label"], registry=registry
        )
        self.seconds = prometheus.Histogram(
            "kerasllm_request_seconds",
            "From the request's headers to the end of its answer.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.batch_texts = prometheus.Histogram(
            "kerasllm_batch_texts",
            "Texts in a call of the model.",
            registry=registry,
            buckets=_TEXTS,
        )
        self.waiting = prometheus.Gauge(
            "kerasllm_waiting_texts", "Texts that wait for the model.", registry=registry
        )

    def page(self):
        """`(content, content type)` of the page that Prometheus reads."""
        return self._prometheus.generate_latest(self._registry), (
            self._prometheus.CONTENT_TYPE_LATEST
        )
