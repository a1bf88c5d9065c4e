"""What a service counts, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """One service's counters, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("sfv_requests_total", "Requests", ["method", "route", "status"], registry=registry)
        self.latency = Histogram("sfv_request_seconds", "Until the whole answer is sent", ["route"], registry=registry)
        self.accepted = Counter("sfv_jobs_accepted_total", "Jobs accepted", registry=registry)
        self.ended = Counter("sfv_jobs_ended_total", "Jobs ended here", ["status"], registry=registry)
        self.jobs = Gauge("sfv_jobs", "Jobs in the database", ["status"], registry=registry)
        self.service = Histogram("sfv_clip_seconds", "A clip's share of its batch", registry=registry, buckets=SECONDS)
        self.batch = Histogram(
            "sfv_batch_size", "Clips made together", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self.deaths = Counter("sfv_worker_deaths_total", "Workers that died", registry=registry)
        self.workers = Gauge("sfv_workers_ready", "Workers with their model open", registry=registry)
        self.trouble = Counter("sfv_trouble_total", "Times that store or database did not answer", registry=registry)
        self.mean = 1.0
        """Seconds of a clip lately; 1 until one is made."""

    def made(self, clips: int, seconds: float) -> None:
        """A worker has made a batch."""
        self.batch.observe(clips)
        for _ in range(clips):
            self.service.observe(seconds / clips)
        self.mean += 0.2 * (seconds / clips - self.mean)

    def text(self) -> bytes:
        """Prometheus' exposition format."""
        return generate_latest(self.registry)


class Counting:
    """Counts every request by its route's pattern, so that ids make no new series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            route = scope["route"].path if "route" in scope else "none"
            method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD", "OPTIONS") else "other"
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.latency.labels(route).observe(time.perf_counter() - start)
