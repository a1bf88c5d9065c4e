"""Clips over HTTP: uploads, guard, jobs, store, workers, routes, client.

This package knows requests, jobs and processes. It does not know networks, noise or codecs: a worker asks `generation`
for a clip and `media` for a file. The only importer of FastAPI, Starlette, Uvicorn, SQLAlchemy, httpx,
prometheus_client and boto3.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfv.serve.client import Client
    from sfv.serve.routes import App, create_app
    from sfv.serve.run import serve
    from sfv.serve.settings import ServeSettings

_HOMES = {
    "App": "sfv.serve.routes",
    "Client": "sfv.serve.client",
    "ServeSettings": "sfv.serve.settings",
    "create_app": "sfv.serve.routes",
    "serve": "sfv.serve.run",
}

__all__ = ["App", "Client", "ServeSettings", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: flags need no web framework; one that is missing is named."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sfv.serve' has no attribute {name!r}")
    from sfv.errors import SfvError

    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise SfvError(f'the service needs {error.name}; pip install "sfv[serve]"') from error
