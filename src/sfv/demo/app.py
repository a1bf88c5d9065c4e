"""The page: drop a picture, see it move. `sfv demo` serves it to this machine's browser."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import sfv
from sfv.demo.keeping import check_format, fitting, for_page, platform_settings, written
from sfv.demo.leaving import leaving
from sfv.demo.race import Stopped, check, race
from sfv.demo.session import MAX_STEPS, STOPPING, Ask, Studio
from sfv.demo.snippets import command_line, python_lines
from sfv.demo.wire import clip_message, packed
from sfv.errors import RequestError, SfvError, UploadError
from sfv.families.base import VideoModel
from sfv.platforms.table import PLATFORMS, platform
from sfv.settings import Format, Speed
from sfv.web.middleware import guarded
from sfv.web.uploads import BODY

MODELS = ("sticker", "sticker-teacher")
MEDIA_TYPES = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp", "png": "image/apng", "webm": "video/webm"}
LONGEST_NAME = 300
"""Characters of a picture's name; the page sends 80 at most."""
LOG = logging.getLogger(__name__)
B = TypeVar("B", bound=BaseModel)


class Shown(BaseModel):
    """A request, and the picture's name in the lines that make the clip again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: Ask
    name: str = "picture.png"
    format: Format = "mp4"
    platform: str | None = Field(default=None, max_length=32)
    """A messenger (platforms/table.py), which chooses size, format and transparency itself."""

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > LONGEST_NAME:
            raise ValueError(
                f"it has {len(name)} characters, more than {LONGEST_NAME}; send a shorter name of the picture"
            )
        return name

    @field_validator("platform")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in PLATFORMS:
            raise ValueError(f"no such platform; choose from {', '.join(PLATFORMS)}")
        return name


def create_demo(
    models: tuple[str, ...] = MODELS,
    device: str = "auto",
    speed: Speed | None = None,
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
    on_ready: Callable[[Studio], None] | None = None,
    max_steps: int = MAX_STEPS,
) -> FastAPI:
    """The page as an ASGI application: the first of `models` animates, all of them race.

    Models are named as in `sfv bench` (MODEL[@PROFILE[/BACKEND]][:STEPS]). The first is loaded and warmed when the
    application starts; `on_ready(studio)` is called then, from the computing thread. `hosts` are the Host headers that
    are answered, ("*",) for any; `max_steps` the network calls that one clip may ask for. Raises SfvError for a model
    that cannot be named so.
    """
    studio = Studio(models, device, speed or Speed(), max_steps)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        studio.thread.submit(_open, studio, on_ready)
        yield
        studio.thread.shutdown(wait=False, cancel_futures=True)
        studio.decoding.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="sfv demo", lifespan=life, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.studio = studio
    app.add_middleware(Guarded)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_exception_handler(SfvError, _sentence)
    app.add_exception_handler(HTTPException, _nowhere)
    for path, answer, method in ROUTES:
        app.add_api_route(path, answer, methods=[method], response_model=None)
    app.mount("/examples", StaticFiles(directory=_place("examples")))
    app.mount("/page", StaticFiles(directory=_place("demo/page")))
    return app


class Guarded:
    """Body limit and security headers, as every server of ours has them; a sentence to whom its end cuts off."""

    def __init__(self, app: ASGIApp) -> None:
        self.inner = guarded(app, BODY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.inner(scope, receive, noting)
        except asyncio.CancelledError:  # uvicorn waits two seconds for what runs
            if scope["type"] != "http":
                raise
            if not begun:
                await JSONResponse({"error": STOPPING}, 503)(scope, receive, send)


def _open(studio: Studio, on_ready: Callable[[Studio], None] | None) -> None:
    studio.open()
    if on_ready:
        on_ready(studio)


def _place(inside: str) -> Path:
    return Path(str(files("sfv"))) / inside


async def _sentence(_: Request, error: Exception) -> JSONResponse:
    """An SfvError as the page shows it."""
    known = isinstance(error, UploadError | RequestError)
    return JSONResponse({"error": for_page(str(error))}, error.status if known else 422)  # type: ignore[attr-defined]


async def _nowhere(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses by itself, as the page's other errors: an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    where = request.url.path[:100]
    sentence = {
        404: f"{where} is no address of this page; open / for the page itself",
        405: f"{where} does not take {request.method[:20]}; the page asks by GET or POST",
    }.get(error.status_code, str(error.detail))
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def _index(_: Request) -> FileResponse:
    return FileResponse(_place("demo/page") / "index.html", headers={"cache-control": "no-cache"})


async def _state(request: Request) -> JSONResponse:
    """What is loaded, and what the page may ask for."""
    studio: Studio = request.app.state.studio
    pictures = sorted(p.name for p in _place("examples").glob("*.png") if p.name != "example.png")
    state: dict[str, Any] = {"ready": studio.ready.is_set(), "error": studio.trouble, "version": sfv.__version__}
    state |= {"platforms": {name: p.format for name, p in PLATFORMS.items()}}
    state |= {"models": [row.name for row in studio.rows], "examples": pictures, "cores": os.cpu_count()}
    if (model := studio.models.get(studio.rows[0].name)) is not None:
        state |= {"model": _model_card(model), "load_seconds": round(studio.took, 2)}
        state |= {"previews": model.loops and model.enlarges()}
    return JSONResponse(state, headers={"cache-control": "no-store"})


def _model_card(model: VideoModel) -> dict[str, Any]:
    defaults = model.defaults.model_dump(include={"frames", "height", "width", "fps", "motion", "steps"})
    state = {"name": model.name, "matte": model.limits.clear, "device": str(model.device), "speed": model.speed}
    return state | {"defaults": defaults, "enlarges": model.enlarges(), "loops": model.loops}


async def _picture(request: Request) -> JSONResponse:
    """Check and keep the bytes of one picture file."""
    _same_site(request)
    data, studio = await request.body(), request.app.state.studio
    key, sent = await asyncio.get_running_loop().run_in_executor(studio.decoding, studio.take, data)
    height, width, _ = sent.rgb.shape
    return JSONResponse({"id": key, "width": width, "height": height, "transparent": sent.rgba is not None})


async def _clip(request: Request) -> Response:
    """Make a clip; 204 if a newer request of the same visit has come."""
    start, shown = time.perf_counter(), await _read(request, Shown)
    studio: Studio = request.app.state.studio
    async with leaving(request) as left:
        clip = await studio.clip(shown.ask, left)
    if clip is None:
        return Response(status_code=204)
    model, row = studio.models[studio.rows[0].name], studio.rows[0]
    lines = (shown.ask, row, model, shown.name, shown.format, shown.platform)
    recipe = {"command": command_line(*lines), "python": python_lines(*lines)}
    whole = round(time.perf_counter() - start, 4)
    message = clip_message(clip, turn=shown.ask.turn, whole=whole, **recipe)
    return StreamingResponse(message, media_type="application/octet-stream")


async def _file(request: Request) -> Response:
    """A clip as a file to keep."""
    shown = await _read(request, Shown)
    studio: Studio = request.app.state.studio
    if shown.platform is not None:
        return await _platform_file(request, shown, shown.platform)
    check_format(shown.ask.settings, shown.format)
    async with leaving(request) as left:
        clip = await studio.clip(shown.ask.model_copy(update={"turn": 0}), left)
    assert clip is not None
    data = await asyncio.to_thread(written, studio.models[studio.rows[0].name], clip, shown.format)
    return Response(data, media_type=MEDIA_TYPES[shown.format])


async def _platform_file(request: Request, shown: Shown, name: str) -> Response:
    """A clip as a messenger takes it."""
    studio: Studio = request.app.state.studio
    settings = platform_settings(shown.ask.settings, name, (await studio.model()).limits)
    ask = shown.ask.model_copy(update={"turn": 0, "settings": settings, "clear": settings.transparent})
    async with leaving(request) as left:
        clip = await studio.clip(ask, left)
    assert clip is not None
    return Response(await asyncio.to_thread(fitting, clip, name), media_type=MEDIA_TYPES[platform(name).format])


async def _race(request: Request) -> StreamingResponse:
    """Messages of a race as they come."""
    shown, studio = await _read(request, Shown), request.app.state.studio
    check(studio, shown.ask)
    return StreamingResponse(_watched(studio, shown.ask), media_type="application/octet-stream")


async def _watched(studio: Studio, ask: Ask) -> AsyncIterator[bytes]:
    """The messages of a race on the computing thread, by a queue; it stops at its next step when nobody listens."""
    loop, queue, gone = asyncio.get_running_loop(), asyncio.Queue[bytes | None](), threading.Event()

    def send(message: bytes | None) -> None:
        if gone.is_set():
            raise Stopped
        loop.call_soon_threadsafe(queue.put_nowait, message)

    def run() -> None:
        try:
            race(studio, ask, send)
        except (Stopped, SfvError) as error:
            said = for_page(str(error))
        except Exception as error:  # whatever it was, whoever watches must hear of it
            LOG.exception("a race failed")
            said = f"the race failed ({type(error).__name__}: {error}); the server's log has more"
        else:
            said = ""
        if not gone.is_set():
            if said:
                send(packed({"event": "error", "error": said}))
            send(None)

    running = studio.thread.submit(run)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        while (message := await queue.get()) is not None:
            yield message
    finally:
        gone.set()


async def _read(request: Request, schema: type[B]) -> B:
    """The JSON body as a schema; RequestError with one sentence for any other."""
    _same_site(request)
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RequestError(415, "the request is not application/json; send it as JSON, with that content-type")
    try:
        return schema.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(name) for name in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        sentence = f"{where}: {said}" if where else f"the body is no JSON object ({said}); send the request as one"
        raise RequestError(422, sentence) from error


def _same_site(request: Request) -> None:
    """No other site's page may ask, even where a browser would let it send."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RequestError(403, "only this page itself may ask")


ROUTES: tuple[tuple[str, Callable[..., Any], Literal["GET", "POST"]], ...] = (
    ("/", _index, "GET"),
    ("/api/state", _state, "GET"),
    ("/api/picture", _picture, "POST"),
    ("/api/clip", _clip, "POST"),
    ("/api/file", _file, "POST"),
    ("/api/race", _race, "POST"),
)
