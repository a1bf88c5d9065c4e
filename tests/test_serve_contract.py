"""The service answers as its OpenAPI description says; schemathesis makes the requests."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from serving import CARD, open_quick, png

from sfv.serve.app import App, create_app
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
    app.service.crew.card = CARD
    yield app
    app.service.stop()


@pytest.fixture
def described(app: App) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("described")
"""Requests that fit the description, and requests that do not."""


@schema.parametrize()
@settings(
    max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_contract(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)
