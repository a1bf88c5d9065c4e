"""The service answers as its OpenAPI description says; schemathesis makes the requests."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from serving import CARD, open_quick, png

from sfv.serve.routes import App, create_app
from sfv.serve.settings import ServeSettings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]
schemathesis.openapi.format("binary", st.integers(0, 20).map(png))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A service without workers; /v1/animate gives up at once, since nobody would make its clip."""
    app = create_app(ServeSettings(data=tmp_path_factory.mktemp("contract"), queue=100_000, sync_work=1), open_quick)
    app.service.supervisor.model_info = CARD
    yield app
    app.service.stop()


def lifeless(app: App) -> Callable[..., Awaitable[None]]:
    """The same application, whose start and end are nobody's business: every client would start it again."""

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            return await app(scope, receive, send)
        for part in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{part}.complete"})

    return answer


OPERATIONS = [
    "POST /v1/videos",
    "POST /v1/animate",
    "GET /v1/videos",
    "GET /v1/videos/{id}",
    "GET /v1/videos/{id}/content",
    "GET /v1/videos/{id}/events",
    "DELETE /v1/videos/{id}",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
]


@pytest.mark.parametrize("label", OPERATIONS)
def test_contract(app: App, label: str) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", lifeless(app))
    found = {o.label: o for o in (result.ok() for result in schema.get_all_operations())}
    assert sorted(found) == sorted(OPERATIONS)

    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=found[label].as_strategy())
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS[1:] if label == "GET /readyz" else CHECKS)  # 503: no worker is ready

    holds()
    if label == "POST /v1/videos":  # what is drawn by chance may all contradict itself
        good = found[label].Case(body={"picture": png()}, media_type="multipart/form-data")
        assert good.call_and_validate(checks=CHECKS).status_code == 202 and app.service.jobs.waiting(CARD.name)
