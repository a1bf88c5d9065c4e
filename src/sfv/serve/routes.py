"""Routes: requests in, answers out. What they mean is `service`'s."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

import sfv
from sfv.errors import QueueFull, Refusal, SfvError, UploadError
from sfv.serve.animator import Opener, open_animator
from sfv.serve.docs_page import docs_page
from sfv.serve.errors import answer, problem
from sfv.serve.form import FIELDS, FILES, LONGEST, PICTURE, REFERENCE, malformed, understood
from sfv.serve.job import Job
from sfv.serve.metrics import Counting
from sfv.serve.ranges import MEDIA_TYPES, file_answer
from sfv.serve.schemas import Deleted, Health, Problem, Video, Videos
from sfv.serve.service import Service, Upload, passing_name
from sfv.serve.settings import Order, ServeSettings
from sfv.web.middleware import guarded

MEANINGS = {
    400: "malformed",
    401: "no valid key",
    403: "sent by a page of another site, or to a name that is not the server's",
    404: "no such video",
    405: "another method",
    408: "the body did not arrive in time",
    409: "not completed",
    413: "too large",
    415: "no known picture format",
    416: "no such range",
    422: "impossible",
    429: "the queue, or the key's share of it, is full; Retry-After says when to try again",
    500: "a mistake of the server's",
    503: "starting, stopping, or storage does not answer",
    504: "not done in time",
    507: "no room to keep it",
}
FAILED = {"deadline": 504, "impossible": 422, "picture": 422}
"""What asking for a failed job's clip is answered with, by why it failed; else 409."""


def create_app(
    settings: ServeSettings | None = None, opener: Opener = open_animator, hosts: tuple[str, ...] | None = None
) -> "App":
    """The service as an ASGI application; its workers start and stop with its lifespan.

    `opener(settings, device)` makes the animator inside each worker process. `hosts`: the names by which it is asked,
    those of `known_hosts`; by any if None. SfvError if the data folder, the store,
    the database or the keys cannot be used.
    """
    return App(Service(settings or ServeSettings(), opener), hosts)


class App:
    """ASGI: the routes behind guard and counters. `api` is the FastAPI application, `service` what it serves."""

    def __init__(self, service: Service, hosts: tuple[str, ...] | None = None) -> None:
        self.service, self.api = service, _api(service)
        settings = service.settings
        inner = guarded(self.api, settings.max_bytes, settings.origins, seconds=settings.body_seconds, hosts=hosts)
        self.outer: ASGIApp = Counting(inner, service.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.outer(scope, receive, send)


def _api(service: Service) -> FastAPI:
    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    about = "Animates a picture in one network call. Times are in seconds; every refusal is one sentence."
    api = FastAPI(title="sfv", version=sfv.__version__, description=about, docs_url=None, redoc_url=None, lifespan=life)
    api.state.service = service
    api.include_router(videos)
    api.include_router(upkeep)
    api.add_exception_handler(SfvError, _refused)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(ClientDisconnect, _gone)
    api.add_exception_handler(Exception, _mistake)
    return api


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem, "description": MEANINGS[code]} for code in codes}


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, SfvError)
    if isinstance(error, UploadError):
        return problem(error.status, "picture", str(error))
    refusal = answer(error)
    again = {"retry-after": str(refusal.again)} if refusal.again else None
    headers = {"www-authenticate": "Bearer"} if refusal.status == 401 else again
    return problem(refusal.status, refusal.code, str(refusal), headers)


async def _http(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    headers, where = dict(error.headers) if error.headers else None, request.url.path[:100]
    sentence = {
        404: f"{where} is no address of this service; /docs lists all of them",
        405: f"{where} does not take {request.method[:20]}; /docs says what it takes",
    }.get(error.status_code, str(error.detail))
    return problem(error.status_code, "http", sentence, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return problem(422, "parameter", f"{first['loc'][-1]}: {first['msg'][0].lower()}{first['msg'][1:]}")


async def _gone(_: Request, error: Exception) -> Response:
    return problem(400, "gone", "the client left before its request had arrived")


async def _mistake(_: Request, error: Exception) -> Response:
    return problem(500, "mistake", f"the server made a mistake ({type(error).__name__}); its log has more")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]


BEARER = HTTPBearer(auto_error=False, description="A key of the server's; any text, or none, where it asks for none.")
Given = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def _owner(given: Given, service: Serving) -> str:
    """The key's id, "" where no keys are asked for."""
    if service.keys is None:
        return ""
    owner = service.keys.owner(given.credentials.strip()) if given else None
    if owner is None:
        raise Refusal(401, "key", "this server needs a key: send the header Authorization: Bearer KEY")
    return owner


Owner = Annotated[str, Depends(_owner)]
videos = APIRouter(prefix="/v1", tags=["videos"], responses=_problems(401, 403, 405, 500, 503))
upkeep = APIRouter(tags=["upkeep"], responses=_problems(403, 405, 500))


def _form() -> dict[str, Any]:
    """OpenAPI of the multipart body: a picture, and the fields of Order."""
    file = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {
        PICTURE: file | {"description": "The picture's file. Nothing is fetched."},
        REFERENCE: file | {"description": "The same, as OpenAI's clients call it; size beside it is WIDTHxHEIGHT."},
    }
    for name, described in Order.model_json_schema()["properties"].items():
        kinds = [k for k in described.pop("anyOf", [described]) if k.get("type") != "null"]
        about = {"description": (Order.model_fields[name].description or "").strip()}
        properties[name] = {k: v for k, v in (described | kinds[0] | about).items() if k not in ("title", "default")}
    one = {"oneOf": [{"required": [PICTURE]}, {"required": [REFERENCE]}]}
    body = {"type": "object", "properties": properties, "additionalProperties": False} | one
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


@contextlib.asynccontextmanager
async def _form_of(request: Request, prompted: bool) -> AsyncIterator[tuple[Order, BinaryIO, str | None]]:
    """Settings and picture of a multipart body (a file, on the disk if it is large), and a note; Refusal or UploadError
    for any other body."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UploadError(415, "send multipart/form-data with the field picture; curl does with -F picture=@cat.png")
    try:
        form = await request.form(max_files=FILES, max_fields=FIELDS, max_part_size=LONGEST)
    except HTTPException as error:
        raise malformed(str(error.detail)) from error
    except OSError as error:
        raise Refusal(507, "storage", "there is no room for the upload; try again later", 30) from error
    try:
        picture, rest, note = understood(form, prompted)
        yield _order(rest), picture.file, note
    finally:
        await form.close()


def _order(given: dict[str, Any]) -> Order:
    try:
        return Order.model_validate({k: v for k, v in given.items() if v != ""})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        sentence = first["msg"].removeprefix("Value error, ")
        raise Refusal(422, "settings", f"{where[:60]}: {sentence[0].lower()}{sentence[1:]}"[:300]) from error


async def _admitted(request: Request, service: Service, owner: str) -> Upload:
    """429 and 503 before the picture is looked at; what is under way is read and dropped: then the answer arrives."""
    try:
        return await service.admit(owner)
    except Refusal:
        async for _ in request.stream():
            pass
        raise


async def _accepted(request: Request, service: Service, owner: str, name: str = "") -> tuple[Job, str | None]:
    upload = await _admitted(request, service, owner)
    try:
        async with _form_of(request, service.model_info.limits.prompted) as (order, picture, note):
            return await service.accept(order, picture, owner, name, upload), note
    except QueueFull as error:
        raise service.full(service.settings.queue) from error
    finally:
        service.uploads.discard(upload)


@videos.post(
    "/videos",
    status_code=202,
    response_model=Video,
    responses=_problems(400, 408, 413, 415, 422, 429, 507),
    openapi_extra=_form(),
)
async def create(request: Request, service: Serving, owner: Owner) -> Video:
    """Ask for a clip of a picture. The answer comes when picture and job are safe on disk; a restart loses neither."""
    job, note = await _accepted(request, service, owner)
    return Video.of(job).model_copy(update={"note": note})


@videos.post(
    "/animate",
    response_class=Response,
    responses=_problems(400, 408, 409, 413, 415, 422, 429, 504, 507)
    | {200: {"description": "the clip", "content": {kind: {} for kind in MEDIA_TYPES.values()}}},
    openapi_extra=_form(),
)
async def animate(request: Request, service: Serving, owner: Owner) -> Response:
    """Make one small clip and answer with it. Nothing is kept; who leaves cancels it."""
    name = passing_name(service.machine)
    with service.events.watching(name, end=True) as ended:
        job, _ = await _accepted(request, service, owner, name)
        try:
            job = await _until_done(request, service, job, ended)
            data = await asyncio.to_thread(_clip_of, service, job, {})
        except BaseException:
            await service.drop(job)
            raise
    data.background = BackgroundTask(service.forget, job)
    return data


async def _until_done(request: Request, service: Service, job: Job, ended: asyncio.Event) -> Job:
    while job.open:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), service.pause)
        over = ended.is_set()
        ended.clear()
        job = await service.get(job.id, job.owner)
        if job.open and not over and await request.is_disconnected():
            raise Refusal(409, "gone", "the client left before its clip was made")
        if job.status == "queued" and service.draining:
            raise Refusal(503, "stopping", "the server is shutting down; try again in a minute", 60)
    return job


def _clip_of(service: Service, job: Job, asked: Mapping[str, str]) -> Response:
    if job.status == "failed":
        raise Refusal(FAILED.get(job.code, 409), job.code, job.error)
    if job.status != "completed":
        raise Refusal(409, job.status, f"the video is {job.status}; its clip is there once it is completed")
    return file_answer(service.store, job, asked)


@videos.get("/videos", response_model=Videos, responses=_problems(404, 422))
async def listing(
    service: Serving,
    owner: Owner,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str, Query(max_length=64)] = "",
    order: Literal["asc", "desc"] = "desc",
) -> Videos:
    """Videos by age, newest first; `after` is the last id of the page before."""
    last = await service.get(after, owner) if after else None
    found = await asyncio.to_thread(service.jobs.page, owner, limit + 1, last, order == "desc")
    data = [Video.of(job) for job in found[:limit]]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return Videos(data=data, first_id=ends[0], last_id=ends[1], has_more=len(found) > limit)


@videos.get("/videos/{id}", response_model=Video, responses=_problems(404))
async def status(id: str, service: Serving, owner: Owner) -> Video:
    """What has become of a video."""
    return Video.of(await service.get(id, owner))


@videos.get(
    "/videos/{id}/content",
    response_class=Response,
    responses=_problems(404, 409, 416, 422, 504)
    | {
        200: {"description": "the clip", "content": {kind: {} for kind in MEDIA_TYPES.values()}},
        206: {"description": "the range asked for", "content": {kind: {} for kind in MEDIA_TYPES.values()}},
        304: {"description": "the client has this clip"},
    },
)
async def content(
    id: str,
    request: Request,
    service: Serving,
    owner: Owner,
    variant: Literal["video"] = "video",
) -> Response:
    """The clip's file, or a range of it (Range, If-Range), or 304 for who has it (If-None-Match); thumbnails and sprite
    sheets are not made."""
    job = await service.get(id, owner)
    return await asyncio.to_thread(_clip_of, service, job, request.headers)


@videos.head("/videos/{id}/content", include_in_schema=False)
async def content_head(id: str, request: Request, service: Serving, owner: Owner) -> Response:
    """What GET answers with, without the clip; ranges are for GET alone (RFC 9110, 14.2)."""
    asked = {"if-none-match": request.headers.get("if-none-match", "")}
    whole = await asyncio.to_thread(_clip_of, service, await service.get(id, owner), asked)
    return Response(status_code=whole.status_code, headers=dict(whole.headers))


@videos.get(
    "/videos/{id}/events",
    response_class=StreamingResponse,
    responses=_problems(404) | {200: {"description": "server-sent events", "content": {"text/event-stream": {}}}},
)
async def events(id: str, service: Serving, owner: Owner) -> Response:
    """The video at every change until it has ended, as server-sent events named after its status."""
    await service.get(id, owner)

    async def events() -> AsyncIterator[str]:
        with contextlib.suppress(SfvError):  # removed by another request: the stream ends, its headers are long sent
            async for job in service.follow(id, owner):
                data = json.dumps(Video.of(job).model_dump()) if job else ""
                yield f"event: {job.status}\ndata: {data}\n\n" if job else ": still here\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


@videos.delete("/videos/{id}", response_model=Video | Deleted, responses=_problems(404))
async def delete(id: str, service: Serving, owner: Owner) -> Video | Deleted:
    """Cancel a video that is queued or in progress; remove one that has ended."""
    left = await service.drop(await service.get(id, owner))
    return Video.of(left) if left else Deleted(id=id)


@upkeep.head("/healthz", include_in_schema=False)
@upkeep.get("/healthz", response_model=Health)
async def healthz(service: Serving) -> Health:
    """Whether the process answers."""
    card = service.supervisor.model_info
    return Health(status="ok", model=card.name if card else None, workers=service.supervisor.ready)


@upkeep.head("/readyz", include_in_schema=False)
@upkeep.get("/readyz", response_model=Health, responses=_problems(503))
async def readyz(service: Serving) -> Health:
    """Whether jobs are accepted and worked on: a worker is ready, the database answers, there is room, no shutdown."""
    if service.draining:
        raise Refusal(503, "stopping", "the server is shutting down")
    if not service.supervisor.ready:
        raise Refusal(503, "starting", service.supervisor.broken or "no worker is ready yet", 5)
    await asyncio.to_thread(service.check)
    return Health(status="ready", model=service.model_info.name, workers=service.supervisor.ready)


@upkeep.get("/metrics", response_class=Response, responses=_problems(401, 503))
async def metrics(service: Serving, owner: Owner) -> Response:
    """Counters for Prometheus."""
    if card := service.supervisor.model_info:
        counts = await asyncio.to_thread(service.jobs.counts, card.name)
        for name in ("queued", "in_progress", "completed", "failed", "cancelled"):
            service.metrics.jobs.labels(name).set(counts.get(name, 0))
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@upkeep.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """This description, for people."""
    return docs_page(request.app.openapi())
