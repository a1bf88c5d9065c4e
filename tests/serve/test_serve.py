"""The service's routes, in one process, without workers: what is accepted, what is refused, and how."""

import asyncio
import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serving import CARD, QuickAnimator, open_quick, png
from sqlalchemy import event

from sfv.cli.main import main
from sfv.errors import DatabaseError, SfvError
from sfv.limits import ModelLimits
from sfv.media import read_clip
from sfv.serve import service as service_module
from sfv.serve.animator import ModelInfo
from sfv.serve.job import Job
from sfv.serve.keys import Keys, new_key
from sfv.serve.routes import App, create_app
from sfv.serve.service import FRESH, passing_name
from sfv.serve.settings import Order, ServeSettings
from sfv.serve.worker import Duty, Worker
from sfv.settings import Defaults

PIPES: list[Connection] = []


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """A service whose model is known and whose workers are not started."""
    yield from made(tmp_path)


def made(folder: Path, **settings: Any) -> Iterator[App]:
    app = create_app(ServeSettings(data=folder / "data", **settings), open_quick)
    app.service.supervisor.model_info = CARD
    yield app
    app.service.stop()


def worker(app: App) -> Worker:
    """A worker of the service, in this process."""
    service = app.service
    duty = Duty(service.settings, service.database, "cpu", f"{service.machine}:0:test", open_quick)
    (service.settings.data / "scratch").mkdir(exist_ok=True)
    ours, theirs = Pipe()
    PIPES.append(ours)  # closed with its last reference, and a worker without a server ends
    return Worker(duty, theirs, QuickAnimator(), service.store, service.jobs)


def turn(at: Worker) -> int:
    """What a worker does in one turn of its loop; how many clips."""
    clips = at._make(at._claim())
    for job, clip in clips:
        at._deliver(job, clip)
    return len(clips)


@asynccontextmanager
async def asking(app: App) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sfv") as client:
        yield client


def ask(app: App, method: str, path: str, **what: Any) -> httpx.Response:
    """One request."""

    async def once() -> httpx.Response:
        async with asking(app) as client:
            return await client.request(method, path, **what)

    return asyncio.run(once())


def create(app: App, data: bytes | None = None, **fields: Any) -> httpx.Response:
    return ask(app, "POST", "/v1/videos", files={"picture": data or png()}, data=fields)


def test_a_picture_becomes_a_video(app: App) -> None:
    answer = create(app, seed=5, steps=2, format="webp")
    video = answer.json()
    assert answer.status_code == 202 and video["status"] == "queued" and video["size"] == "32x32"
    assert video["settings"]["seed"] == 5 and video["model"] == "quick" and video["expires_at"] is None
    early = ask(app, "GET", f"/v1/videos/{video['id']}/content")
    assert early.status_code == 409 and "queued" in early.json()["error"]["message"]
    assert turn(worker(app)) == 1
    done = ask(app, "GET", f"/v1/videos/{video['id']}").json()
    assert (done["status"], done["progress"]) == ("completed", 100) and done["expires_at"] > time.time()
    clip = ask(app, "GET", f"/v1/videos/{video['id']}/content")
    assert clip.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(clip.content)) as picture:
        assert (picture.format, picture.n_frames) == ("WEBP", 4)  # type: ignore[attr-defined]
    assert ask(app, "DELETE", f"/v1/videos/{video['id']}").json()["deleted"] is True
    assert ask(app, "GET", f"/v1/videos/{video['id']}").status_code == 404
    assert not [p for p in (app.service.settings.data / "files").rglob("*") if p.is_file()]


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "png"])
def test_every_format(app: App, tmp_path: Path, kind: str) -> None:
    name = create(app, format=kind, transparent=str(kind != "mp4").lower()).json()["id"]
    turn(worker(app))
    answer = ask(app, "GET", f"/v1/videos/{name}/content")
    file = tmp_path / f"clip.{kind}"
    file.write_bytes(answer.content)
    assert len(read_clip(file)) == 4 and kind in answer.headers["content-type"]


def test_equal_settings_are_made_together(app: App) -> None:
    for seed, steps in ((1, 1), (2, 1), (3, 2), (4, 1)):
        create(app, seed=seed, steps=steps)
    at = worker(app)
    assert [turn(at) for _ in range(4)] == [2, 1, 1, 0]


@pytest.mark.parametrize(
    ("wanted", "status", "span"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=5-", 206, (5, None)),
        ("bytes=-7", 206, (-7, None)),
        ("bytes=a-b", 200, (0, None)),
        ("bytes=9-3", 200, (0, None)),
        ("bytes=0-1,3-4", 200, (0, None)),
    ],
)
def test_ranges(app: App, wanted: str, status: int, span: tuple[int, int | None]) -> None:
    name = create(app).json()["id"]
    turn(worker(app))
    whole = ask(app, "GET", f"/v1/videos/{name}/content").content
    part = ask(app, "GET", f"/v1/videos/{name}/content", headers={"range": wanted})
    assert part.status_code == status and part.content == whole[slice(*span)]
    if status == 206:
        assert part.headers["content-range"].endswith(f"/{len(whole)}")


def test_the_head_of_a_clip_is_that_of_its_answer(app: App) -> None:
    name = create(app).json()["id"]
    assert ask(app, "HEAD", f"/v1/videos/{name}/content").status_code == 409
    turn(worker(app))
    whole = ask(app, "GET", f"/v1/videos/{name}/content")
    head = ask(app, "HEAD", f"/v1/videos/{name}/content", headers={"range": "bytes=0-9"})
    assert (head.status_code, head.content) == (200, b"") and head.headers == whole.headers
    assert int(head.headers["content-length"]) == len(whole.content)
    assert ask(app, "HEAD", "/v1/videos/none/content").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"if-none-match": "TAG"}, 304),
        ({"if-none-match": 'W/TAG, "other"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"', "range": "bytes=0-9"}, 206),
        ({"if-none-match": "TAG", "range": "bytes=0-9"}, 304),
        ({"if-range": "TAG", "range": "bytes=0-9"}, 206),
        ({"if-range": '"other"', "range": "bytes=0-9"}, 200),
        ({"if-range": "W/TAG", "range": "bytes=0-9"}, 200),
    ],
)
def test_a_client_that_has_the_clip_or_a_part_says_so(app: App, asked: dict[str, str], status: int) -> None:
    name = create(app).json()["id"]
    turn(worker(app))
    path, headers = f"/v1/videos/{name}/content", {k: v.replace("TAG", f'"{name}"') for k, v in asked.items()}
    whole, answer = ask(app, "GET", path), ask(app, "GET", path, headers=headers)
    assert whole.headers["etag"] == f'"{name}"' == answer.headers["etag"]
    parts = {200: whole.content, 206: whole.content[:10], 304: b""}
    assert answer.status_code == status and answer.content == parts[status]
    head = ask(app, "HEAD", path, headers=headers)
    assert head.status_code == (304 if status == 304 else 200)


def test_a_range_that_there_is_not_is_refused_as_all_else(app: App) -> None:
    name = create(app).json()["id"]
    turn(worker(app))
    answer = ask(app, "GET", f"/v1/videos/{name}/content", headers={"range": "bytes=9999999-"})
    assert answer.status_code == 416 and answer.headers["content-range"].startswith("bytes */")
    error = answer.json()["error"]
    assert error["code"] == "range" and "leave it out" in error["message"] and error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_may_be_asked_by_head(app: App, path: str) -> None:
    assert ask(app, "HEAD", path).status_code == ask(app, "GET", path).status_code


OWN = ModelLimits(
    "loops", Defaults(frames=24, height=128, width=128, fps=8, play_fps=24), 8, ("small",), ("small",), loops=True
)


@pytest.mark.parametrize(
    ("asked", "size", "seconds"),
    [
        ({"fit": "own"}, "300x200", "3.00"),
        ({"size": "300"}, "300x200", "3.00"),
        ({"fit": "own", "size": "480"}, "480x320", "3.00"),
        ({"boomerang": "true"}, "128x128", "5.92"),
        ({"play_fps": "12", "size": "64x96", "fit": "pad"}, "96x64", "3.00"),
        ({"seconds": "2"}, "128x128", "2.00"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_size_and_length_are_those_of_the_file(
    app: App, asked: dict[str, str], size: str, seconds: str, turned: bool
) -> None:
    """Of a picture of 300x200, or of one that a camera has turned to it; as measured of the embedded model's files."""
    app.service.supervisor.model_info = ModelInfo("0" * 16, OWN, 1)
    image, exif = Image.new("RGB", (200, 300) if turned else (300, 200)), Image.Exif()
    exif[0x112] = 6 if turned else 1
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    made = create(app, out.getvalue(), **asked).json()
    assert (made["size"], made["seconds"]) == (size, seconds)
    assert ask(app, "GET", f"/v1/videos/{made['id']}").json()["size"] == size


def test_no_more_than_two_pictures_are_in_memory(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that are sent at once: the others wait on the disk."""
    now, most, lock, sent = 0, 0, threading.Lock(), threading.Barrier(2)
    read, put = service_module._read, app.service.store.put

    def reading(file: Any) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        sent.wait(60)  # two are read together
        return read(file)

    def keeping(key: str, *given: Any) -> int:
        nonlocal now
        size = put(key, *given)
        with lock:
            now -= 1
        return size

    monkeypatch.setattr(service_module, "_read", reading)
    monkeypatch.setattr(app.service.store, "put", keeping)

    async def many() -> list[int]:
        async with asking(app) as client:
            asks = [client.post("/v1/videos", files={"picture": png(i)}) for i in range(8)]
            return [a.status_code for a in await asyncio.gather(*asks)]

    assert asyncio.run(many()) == [202] * 8 and most == 2


def test_uploads_under_way_count_as_jobs_that_wait(tmp_path: Path) -> None:
    async def three(app: App) -> list[int]:
        going, reached = asyncio.Event(), [asyncio.Event(), asyncio.Event()]

        async def slow(at: int) -> AsyncIterator[bytes]:
            yield b"--b\r\n"
            reached[at].set()
            await going.wait()
            yield b'Content-Disposition: form-data; name="picture"; filename="a"\r\n\r\n' + png() + b"\r\n--b--\r\n"

        answers = [post_slowly(app, slow(at)) for at in range(2)]
        tasks = [asyncio.create_task(answer) for answer in answers]
        for one in reached:
            await one.wait()
        async with asking(app) as client:
            third = await client.post("/v1/videos", files={"picture": png()})
        going.set()
        return [third.status_code, *[await task for task in tasks]]

    for app in made(tmp_path, queue=2):
        assert asyncio.run(three(app)) == [429, 202, 202] and not app.service.uploads


async def post_slowly(app: App, parts: AsyncIterator[bytes]) -> int:
    """The status of a POST whose body comes as the parts do."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        async for part in parts:
            return {"type": "http.request", "body": part, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of("multipart/form-data; boundary=b"), receive, send)
    return int(sent[0]["status"])


def test_what_is_refused_takes_no_place_in_the_queue(tmp_path: Path) -> None:
    for app in made(tmp_path, queue=1):
        assert [create(app, b"no picture").status_code for _ in range(3)] == [415] * 3
        assert create(app).status_code == 202


def test_one_key_fills_half_of_the_queue_while_there_are_others(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    anna, ben = ({"authorization": f"Bearer {new_key(file, name)}"} for name in ("anna", "ben"))

    async def many(app: App) -> list[int]:
        async with asking(app) as client:
            asks = [client.post("/v1/videos", files={"picture": png(i)}, headers=anna) for i in range(12)]
            return sorted(a.status_code for a in await asyncio.gather(*asks))

    for app in made(tmp_path, queue=8, keys=file):
        assert asyncio.run(many(app)) == [202] * 4 + [429] * 8
        late = ask(app, "POST", "/v1/videos", files={"picture": png()}, headers=anna)
        assert late.status_code == 429 and "4 jobs of this key are waiting" in late.json()["error"]["message"]
        assert 1 <= int(late.headers["retry-after"]) <= 600
        time.sleep(FRESH)
        assert ask(app, "POST", "/v1/videos", files={"picture": png()}, headers=ben).status_code == 202


def test_the_only_key_may_fill_the_queue(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    anna = {"authorization": f"Bearer {new_key(file, 'anna')}"}
    for app in made(tmp_path, queue=2, keys=file):
        codes = [ask(app, "POST", "/v1/videos", files={"picture": png()}, headers=anna).status_code for _ in range(3)]
        assert codes == [202, 202, 429]


HOSTS = {
    "localhost:8000": 200,
    "127.0.0.1": 200,
    "LOCALHOST": 200,
    "[::1]:8000": 200,
    "127.9.9.9:8000": 200,
    "a.example": 200,
    "clips.example:80": 200,
    "evil.example": 403,
    "evil.example:8000": 403,
    "localhost.evil.example": 403,
    "": 403,
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_server_without_keys_answers_to_its_own_names_alone(tmp_path: Path, host: str) -> None:
    """A page of evil.example whose name leads to this machine asks with that name, and is of the same origin then."""
    settings = ServeSettings(data=tmp_path / "data", origins=("https://a.example",), hosts=("clips.example",))
    app = create_app(settings, open_quick, settings.known_hosts("127.9.9.9"))
    app.service.supervisor.model_info = CARD
    headers = {"host": host, "origin": f"http://{host}"}
    answer = ask(app, "GET", "/healthz", headers=headers)
    assert answer.status_code == HOSTS[host]
    if answer.status_code == 403:
        assert ask(app, "POST", "/v1/videos", files={"picture": png()}, headers=headers).status_code == 403
        assert answer.json()["error"]["code"] == "host" and "--hosts" in answer.json()["error"]["message"]
    app.service.stop()


def test_a_check_of_health_that_names_no_host_is_answered(tmp_path: Path) -> None:
    """As HAProxy's, of HTTP/1.0; a browser always names one."""
    settings = ServeSettings(data=tmp_path / "data")
    app = create_app(settings, open_quick, settings.known_hosts("127.0.0.1"))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "1.0", "method": "GET", "path": "/healthz", "raw_path": b"/healthz"}
    more = {
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
    }
    asyncio.run(app(scope | more, receive, send))
    assert sent[0]["status"] == 200
    app.service.stop()


@pytest.mark.parametrize("name", ["proxy.example:8443", "https://proxy.example", "a/b"])
def test_names_of_hosts_that_never_match_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="give the name alone"):
        ServeSettings(hosts=(name,))


@pytest.mark.parametrize(
    "origin", ["http://my_host:3000", "capacitor://localhost", "chrome-extension://abc", "http://[::1]:3000"]
)
def test_origins_that_clients_send_are_taken(origin: str) -> None:
    known = ServeSettings(origins=(origin,)).known_hosts("127.0.0.1")
    assert known and "" not in known and known[-1] in origin


def test_what_cannot_be_a_job_is_not_looked_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL stumbles over a NUL, and all who asked with it."""

    async def looked_up(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(app.service.lookups, "get", looked_up)
    for name in ("%00", "video_%00", "a" * 50, "video-1"):
        assert ask(app, "GET", f"/v1/videos/{name}").status_code == 404


def test_with_keys_or_for_other_machines_any_name_will_do(tmp_path: Path) -> None:
    assert ServeSettings(keys=tmp_path / "keys.json").known_hosts("127.0.0.1") is None
    assert ServeSettings().known_hosts("0.0.0.0") is None and ServeSettings().known_hosts("localhost") is not None


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("*", "is no single origin; name each in full"),
        ("https://*.example.org", "is no single origin"),
        ("https://a.example/", "with no / at the end"),
        ("https://A.example", "small letters"),
        ("a.example", "https://HOST"),
        ("null", "https://HOST"),
    ],
)
def test_origins_that_never_match_are_refused(origin: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--origins", origin]) == 2
    said = capsys.readouterr().err
    assert origin in said and says in said and said.count("\n") == 1
    assert ServeSettings(origins=("https://a.example", "http://localhost:3000", "http://[::1]:80")).origins


def test_the_description_lists_what_is_answered(app: App) -> None:
    described = ask(app, "GET", "/openapi.json").json()
    form = described["paths"]["/v1/videos"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"picture", "input_reference"} <= set(form["properties"]) and "required" not in form
    assert form["oneOf"] == [{"required": ["picture"]}, {"required": ["input_reference"]}]
    for path in ("/v1/videos", "/v1/animate"):
        assert {"401", "403", "405", "408", "500"} <= set(described["paths"][path]["post"]["responses"])
    (scheme,) = described["components"]["securitySchemes"].values()
    assert scheme["type"] == "http" and scheme["scheme"] == "bearer"
    assert (
        described["paths"]["/v1/videos"]["get"]["security"] and "security" not in described["paths"]["/healthz"]["get"]
    )


def test_videos_are_listed_in_pages(app: App) -> None:
    names = [create(app, seed=i).json()["id"] for i in range(5)]
    seen: list[str] = []
    while True:
        last = {"after": seen[-1]} if seen else {}
        page = ask(app, "GET", "/v1/videos", params={"limit": 2, "order": "asc"} | last).json()
        seen += [v["id"] for v in page["data"]]
        if not page["has_more"]:
            break
    assert seen == names
    assert [v["id"] for v in ask(app, "GET", "/v1/videos").json()["data"]] == names[::-1]


REFUSED: dict[str, tuple[dict[str, str], bytes | None, int, str]] = {
    "no number": ({"seed": "many"}, png(), 422, "seed"),
    "out of range": ({"fps": "1000"}, png(), 422, "fps"),
    "not a number": ({"motion": "nan"}, png(), 422, "motion"),
    "unknown field": ({"url": "http://127.0.0.1/"}, png(), 422, "url"),
    "a path": ({"picture": "/etc/passwd"}, None, 400, "picture"),
    "another model": ({"model": "../../etc"}, png(), 422, "model"),
    "odd size": ({"width": "33"}, png(), 422, "multiples of 8"),
    "too large": ({"width": "4096", "height": "4096", "frames": "200"}, png(), 422, "ask for less"),
    "too many steps": ({"steps": "51"}, png(), 422, "steps"),
    "opaque format": ({"transparent": "true", "format": "mp4"}, png(), 422, "transparency"),
    "no colour": ({"background": "bl\x00ue\nx"}, png(), 422, "background"),
    "no picture": ({"seed": "1"}, None, 400, "picture"),
    "no picture format": ({}, b"MZ" * 50, 415, "PNG"),
    "cut short": ({}, png()[:150], 422, "decoded"),
    "too many bytes": ({}, png() + bytes(3 * 10**6), 413, "bytes"),
    "too many pixels": ({}, png(side=300), 413, "pixels"),
}


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/animate"])
@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path: Path, name: str, path: str) -> None:
    fields, data, status, word = REFUSED[name]
    for app in made(tmp_path, max_bytes=2 * 10**6, max_pixels=10**4):
        files = {"picture": data} if data else {"other": (None, b"x")}
        answer = ask(app, "POST", path, files=files if data else None, data=fields)
        if not data:
            parts = {k: (None, v) for k, v in fields.items()}
            answer = ask(app, "POST", path, files=parts)
        said = answer.json()["error"]["message"]
        assert answer.status_code == status and word in said and "\n" not in said
        assert not list((tmp_path / "data" / "files").rglob("*"))


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/animate"])
def test_a_clip_of_the_pictures_own_shape_counts_with_its_real_size(tmp_path: Path, path: str) -> None:
    """Of a picture of 24 pixels a side the clip has the network's 32, not the 512 that larger ones may have."""
    for app in made(tmp_path, max_work=4 * 40 * 40, sync_work=4 * 40 * 40):
        asyncio.run(app.service.accept(Order(fit="own"), png(side=24), ""))
        with pytest.raises(
            SfvError, match=r"^size: 4 frames of 200x200 are more than the 6,400 .* give a smaller size"
        ):
            asyncio.run(app.service.accept(Order(fit="own"), png(side=200), ""))
        answer = ask(app, "POST", path, files={"picture": png(side=200)}, data={"fit": "own"})
        said = answer.json()["error"]["message"]
        assert answer.status_code == 422 and "seconds, play_fps or frames" in said
        answer = ask(app, "POST", path, files={"picture": b"no picture"}, data={"fit": "own"})
        assert answer.status_code == 415
    for app in made(tmp_path / "small", sync_work=4 * 40 * 40):
        assert app.service.plan(Order(fit="own"), png(side=24))[2] == 4 * 32 * 32


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    for app in made(tmp_path, queue=2):
        answers = [create(app, seed=i) for i in range(4)]
        assert [a.status_code for a in answers] == [202, 202, 429, 429]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 600
        turn(worker(app))
        time.sleep(FRESH)  # the queue's length is taken as known for so long
        assert create(app).status_code == 202


def test_requests_at_the_same_moment_do_not_overfill_the_queue(tmp_path: Path) -> None:
    async def many(app: App) -> list[int]:
        async with asking(app) as client:
            asks = [client.post("/v1/videos", files={"picture": png(i)}) for i in range(20)]
            return sorted(a.status_code for a in await asyncio.gather(*asks))

    for app in made(tmp_path, queue=5):
        assert asyncio.run(many(app)) == [202] * 5 + [429] * 15
        assert len(list((tmp_path / "data" / "files").glob("*/picture"))) == 5


def test_nothing_is_taken_on_while_starting_or_stopping(app: App) -> None:
    assert ask(app, "GET", "/readyz").status_code == 503
    app.service.draining = True
    answer = create(app)
    assert answer.status_code == 503 and "shutting down" in answer.json()["error"]["message"]
    app.service.draining, app.service.supervisor.model_info = False, None
    assert create(app).status_code == 503 and ask(app, "GET", "/healthz").status_code == 200


def test_a_queued_job_is_cancelled_at_once(app: App) -> None:
    name = create(app).json()["id"]
    assert ask(app, "DELETE", f"/v1/videos/{name}").json()["status"] == "cancelled"
    assert turn(worker(app)) == 0
    assert "cancelled" in ask(app, "GET", f"/v1/videos/{name}/content").json()["error"]["message"]
    assert ask(app, "DELETE", f"/v1/videos/{name}").json()["deleted"] is True


def test_a_running_job_is_dropped_at_the_end_of_its_step(app: App) -> None:
    name = create(app, steps=50).json()["id"]
    at, seen = worker(app), []
    batch = at._claim()
    animate = at.animator.animate

    def counting(pictures: Any, settings: Any, seeds: Any, watch: Callable[[int, int], None]) -> Any:
        def also(done: int, steps: int) -> None:
            seen.append(done)
            if done == 3:
                assert ask(app, "DELETE", f"/v1/videos/{name}").json()["status"] == "cancelled"
                at.cancelled.add(name)
            watch(done, steps)

        return animate(pictures, settings, seeds, also)

    at.animator.animate = counting  # type: ignore[method-assign]
    assert at._make(batch) == [] and seen == [1, 2, 3]
    assert ask(app, "GET", f"/v1/videos/{name}").json()["status"] == "cancelled"


def test_a_picture_that_is_refused_fails_alone(app: App) -> None:
    """Of two jobs that are made together, when the model cannot make one of them."""
    names = {create(app, seed=seed).json()["id"]: seed for seed in (1, 2)}
    at = worker(app)
    animate = at.animator.animate

    def choosy(pictures: Any, settings: Any, seeds: Any, watch: Callable[[int, int], None]) -> Any:
        if 1 in seeds:
            raise SfvError("nothing stands out from the ground")
        return animate(pictures, settings, seeds, watch)

    at.animator.animate = choosy  # type: ignore[method-assign]
    batch = at._claim()
    assert len(batch) == 2 and [names[job.id] for job, _ in at._make(batch)] == [2]
    failed = next(name for name, seed in names.items() if seed == 1)
    assert "nothing stands out" in ask(app, "GET", f"/v1/videos/{failed}").json()["error"]["message"]
    content = ask(app, "GET", f"/v1/videos/{failed}/content")
    assert content.status_code == 422 and content.json()["error"]["code"] == "impossible"


def test_a_clip_that_comes_too_late_is_not_kept(app: App) -> None:
    name = create(app).json()["id"]
    at = worker(app)
    [(job, clip)] = at._make(at._claim())
    ask(app, "DELETE", f"/v1/videos/{name}")
    at._deliver(job, clip)
    assert ask(app, "GET", f"/v1/videos/{name}").json()["status"] == "cancelled"
    assert [p.name for p in (app.service.settings.data / "files" / name).iterdir()] == ["picture"]


def test_a_job_past_its_deadline_fails_and_says_so(tmp_path: Path) -> None:
    for app in made(tmp_path, deadline=0.05):
        name = create(app).json()["id"]
        time.sleep(0.1)
        assert turn(worker(app)) == 0
        app.service._deadlines()
        video = ask(app, "GET", f"/v1/videos/{name}").json()
        assert video["status"] == "failed" and "deadline" in video["error"]["message"]
        assert ask(app, "GET", f"/v1/videos/{name}/content").status_code == 504


def test_results_expire(tmp_path: Path) -> None:
    for app in made(tmp_path, keep=1):
        name = create(app).json()["id"]
        turn(worker(app))
        app.service._expired()
        assert ask(app, "GET", f"/v1/videos/{name}").status_code == 200
        time.sleep(1)
        app.service._expired()
        assert ask(app, "GET", f"/v1/videos/{name}").status_code == 404
        assert not list((tmp_path / "data" / "files").rglob("*"))


def test_files_without_a_job_are_swept_and_others_stay(app: App) -> None:
    name, files = create(app).json()["id"], app.service.settings.data / "files"
    gone = [
        f"video_{'0' * 32}/picture",
        f"video_{'0' * 32}/.sfv-12-0123456789ab.mp4",
        f"{passing_name('a' * 12)}/clip.gif",
    ]
    for key in gone:
        app.service.store.put(key, b"x")
    for file in files.rglob("*/*"):
        os.utime(file, (1, 1))
    app.service._orphans()
    assert [p.name for p in files.iterdir()] == [name]


def test_a_file_that_cannot_be_deleted_keeps_no_other_from_expiring(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs, unlink = [asyncio.run(app.service.accept(Order(seed=i), png(), "")) for i in range(3)], Path.unlink

    def stubborn(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == jobs[0].id:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stubborn)
    monkeypatch.setattr(app.service.jobs, "expired", lambda: jobs)
    app.service._expired()
    assert [p.name for p in (app.service.settings.data / "files").iterdir()] == [jobs[0].id]
    assert [r.message.partition("; ")[0] for r in caplog.records] == [
        f"{jobs[0].picture_key} cannot be deleted (Permission denied)"
    ]


def test_the_sweeper_outlives_every_error(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that nobody has thought of."""
    calls: list[str] = []

    def faulty() -> None:
        calls.append("once more")
        if len(calls) > 2:
            app.service.sweeping.set()
        raise ZeroDivisionError

    monkeypatch.setattr("sfv.serve.service.LOOKS", 0.001)
    monkeypatch.setattr(app.service, "_deadlines", faulty)
    app.service._sweep()
    assert len(calls) == 3


@pytest.mark.parametrize("key", ["holiday/sea.jpg", "video_1/picture", "holiday/picture", f"video_{'0' * 32}/sea.jpg"])
def test_a_store_among_somebodys_own_files_leaves_them_alone(tmp_path: Path, key: str) -> None:
    for app in made(tmp_path, store=str(tmp_path / "pictures")):
        app.service.store.put(key, b"x")
        os.utime(tmp_path / "pictures" / key, (1, 1))
        app.service._orphans()
        assert app.service.store.read(key) == b"x"


def test_events_follow_a_job_to_its_end(app: App) -> None:
    async def follow() -> list[str]:
        async with asking(app) as client:
            name = (await client.post("/v1/videos", files={"picture": png()})).json()["id"]
            app.service.events.loop = asyncio.get_running_loop()
            listening = asyncio.create_task(client.get(f"/v1/videos/{name}/events"))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(turn, worker(app))
            app.service.events.notify([name])
            return (await listening).text.splitlines()

    lines = asyncio.run(follow())
    told = [x.removeprefix("event: ") for x in lines if x.startswith("event")]
    assert told[0] == "queued" and told[-1] == "completed" and len(set(told)) == len(told)
    assert not app.service.events.waiting


def test_animate_answers_with_the_clip_and_keeps_nothing(app: App) -> None:
    async def both() -> httpx.Response:
        async with asking(app) as client:
            waiting = asyncio.create_task(client.post("/v1/animate", files={"picture": png()}, data={"format": "gif"}))
            while not await asyncio.to_thread(turn, worker(app)):
                await asyncio.sleep(0.01)
            return await waiting

    answer = asyncio.run(both())
    assert answer.status_code == 200 and answer.content[:6] == b"GIF89a"
    assert ask(app, "GET", "/v1/videos").json()["data"] == []
    assert not list((app.service.settings.data / "files").rglob("*"))


@pytest.mark.parametrize("when", ["queued", "running", "made"])
def test_of_a_sender_who_leaves_nothing_is_kept_or_listed(app: App, when: str) -> None:
    service, files = app.service, app.service.settings.data / "files"
    job = asyncio.run(service.accept(Order(), png(), "", passing_name(service.machine)))
    at = worker(app)
    batch = at._claim() if when != "queued" else []
    clips = at._make(batch) if when == "made" else []
    assert ask(app, "GET", "/v1/videos").json()["data"] == [] and len(list(files.iterdir())) == 1
    asyncio.run(service.drop(job))
    for made_too_late in clips or at._make(batch):
        at._deliver(*made_too_late)
    assert ask(app, "GET", "/v1/videos").json()["data"] == []
    assert service.jobs.get(job.id) is None and not list(files.iterdir())


def test_a_server_that_starts_again_forgets_whom_nobody_waits_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own senders alone: another server's may still be there."""
    service, files = app.service, app.service.settings.data / "files"
    names = [passing_name(service.machine), passing_name("0" * 12), ""]
    kept = [asyncio.run(service.accept(Order(seed=i), png(), "", name)).id for i, name in enumerate(names)][1:]
    worker(app)._claim()
    monkeypatch.setattr(service.supervisor, "start", lambda listener: None)

    async def start() -> None:
        service.start()

    asyncio.run(start())
    assert sorted(p.name for p in files.iterdir()) == sorted(kept) == sorted(service.jobs.known([names[0], *kept]))


@pytest.mark.parametrize("text", [None, "", "\0" * 12, "abc", "0123456789abcdef"])
def test_a_data_folder_whose_machine_file_holds_no_name_is_given_a_new_one(tmp_path: Path, text: str | None) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if text is not None:
        (data / "machine").write_text(text)
    names = [app.service.machine for _ in range(2) for app in made(tmp_path)]
    assert re.fullmatch("[0-9a-f]{12}", names[0]) and names[0] == names[1] == (data / "machine").read_text()


def test_a_machine_file_is_not_there_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfv.serve.service.os.fsync", full)
    with pytest.raises(SfvError, match="machine cannot be written .*free some space"):
        create_app(ServeSettings(data=tmp_path), open_quick)
    assert not (tmp_path / "machine").exists()


def test_what_no_server_forgets_expires_an_hour_later(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    service = app.service
    names = ["", passing_name("0" * 12)]
    left = [asyncio.run(service.accept(Order(), png(), "", name)) for name in names]
    assert turn(worker(app)) == 2
    service._expired()
    assert all(service.jobs.get(job.id) for job in left)
    monkeypatch.setattr("sfv.serve.jobs.LEFT", 0.0)
    service._expired()
    assert [bool(service.jobs.get(job.id)) for job in left] == [True, False]


def test_animate_is_for_small_clips(tmp_path: Path) -> None:
    for app in made(tmp_path, sync_work=4 * 32 * 32):
        answer = ask(app, "POST", "/v1/animate", files={"picture": png()}, data={"steps": "2"})
        assert answer.status_code == 422 and "/v1/videos" in answer.json()["error"]["message"]


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_a_picture_is_507(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfv.serve.store.shutil.copyfileobj", full)
    answer = create(app)
    assert answer.status_code == 507 and "free space" in answer.json()["error"]["message"]
    assert ask(app, "GET", "/v1/videos").json()["data"] == []
    assert not [p for p in (app.service.settings.data / "files").rglob("*") if p.is_file()]


def test_a_clip_that_cannot_be_kept_waits_and_is_made_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfv.serve.worker.PAUSE", 0.05)
    name = create(app).json()["id"]
    at = worker(app)
    with monkeypatch.context() as broken:
        broken.setattr("sfv.serve.store.shutil.copyfileobj", full)
        turn(at)
    assert ask(app, "GET", f"/v1/videos/{name}").json()["status"] == "queued"
    assert [p.name for p in (app.service.settings.data / "files" / name).iterdir()] == ["picture"]
    time.sleep(0.1)
    assert turn(at) == 1
    assert ask(app, "GET", f"/v1/videos/{name}").json()["status"] == "completed"


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of so many bytes."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    place, size = tmp_path / "small", f"size={request.param}"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
def test_a_disk_that_is_really_full(small_disk: Path, tmp_path: Path) -> None:
    for app in made(tmp_path, store=str(small_disk)):
        answers = [create(app, png(side=100), seed=i) for i in range(12)]
        codes = [a.status_code for a in answers]
        assert set(codes) == {202, 507} and codes == sorted(codes)
        kept = [p for p in small_disk.rglob("*") if p.is_file()]
        assert len(kept) == codes.count(202) and all(p.read_bytes() == png(side=100) for p in kept)
        assert len(ask(app, "GET", "/v1/videos").json()["data"]) == codes.count(202)


@pytest.mark.parametrize("small_disk", ["3m"], indirect=True)
def test_a_full_disk_is_freed_of_what_has_expired_and_then_takes_jobs_again(small_disk: Path) -> None:
    """Database and store lie on it, and not a byte is left."""
    for app in made(small_disk, keep=0.001):
        app.service.supervisor.slots[0].ready = True
        big = png(side=300)
        for i in range(5):
            name = create(app, big, seed=i).json()["id"]
            ask(app, "DELETE", f"/v1/videos/{name}")
        filled(small_disk / "filler")
        assert create(app, big).status_code == 507
        assert ask(app, "GET", "/readyz").json()["error"]["code"] == "storage"
        app.service._expired()
        assert create(app, big).status_code == 202
        assert ask(app, "GET", "/readyz").status_code == 200
        assert len(list(small_disk.rglob("picture"))) == 1
        app.service.supervisor.slots[0].ready = False


def filled(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while True:
            out.write(b"x" * 512)


def test_a_row_that_a_full_disk_keeps_goes_once_its_files_have(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job, remove = asyncio.run(app.service.accept(Order(), png(), "")), app.service.jobs.remove

    def cramped(gone: Job) -> None:
        if list((app.service.settings.data / "files").iterdir()):
            raise DatabaseError("database or disk is full")
        remove(gone)

    monkeypatch.setattr(app.service.jobs, "remove", cramped)
    app.service.forget(job)
    assert app.service.jobs.get(job.id) is None


def test_a_server_is_not_ready_from_a_full_disk_until_there_is_room(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app.service.supervisor.slots[0].ready = True
    states = [ask(app, "GET", "/readyz").status_code]
    with monkeypatch.context() as broken:
        broken.setattr("sfv.serve.store.shutil.copyfileobj", full)
        create(app)
        states += [ask(app, "GET", "/readyz").status_code for _ in range(2)]
    states.append(ask(app, "GET", "/readyz").status_code)
    app.service.supervisor.slots[0].ready = False
    assert states == [200, 503, 503, 200] and not app.service.doubtful
    assert not list((app.service.settings.data / "files").iterdir()) and not app.service.jobs.expired()


def test_a_database_that_is_full_is_507_and_keeps_no_picture(app: App) -> None:
    engine = app.service.jobs.engine
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1").close())
    codes = [create(app, seed=i).status_code for i in range(30)]
    assert set(codes) == {202, 507} and codes == sorted(codes)
    files = app.service.settings.data / "files"
    assert len(list(files.rglob("picture"))) == codes.count(202) == app.service.jobs.waiting("quick")


def test_a_missing_extra_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "sfv.serve.run", raising=False)
    assert main(["serve"]) == 1 and 'pip install "sfv[serve]"' in capsys.readouterr().err


def test_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    assert main(["serve", "--keys", str(file), "--new-key", "anna"]) == 0
    anna, ben = capsys.readouterr().out.strip(), new_key(file, "ben")
    assert anna not in file.read_text() and file.stat().st_mode & 0o077 == 0
    for app in made(tmp_path, keys=file):
        mine, yours = ({"authorization": f"Bearer {k}"} for k in (anna, ben))
        for wrong in (
            {},
            {"authorization": anna},
            {"authorization": f"Bearer {anna}x"},
            {"authorization": "Bearer sfv_"},
        ):
            answer = ask(app, "GET", "/v1/videos", headers=wrong)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert ask(app, "GET", "/metrics", headers=wrong).status_code == 401
        name = ask(app, "POST", "/v1/videos", files={"picture": png()}, headers=mine).json()["id"]
        assert ask(app, "GET", f"/v1/videos/{name}", headers=mine).status_code == 200
        for method in ("GET", "DELETE"):
            assert ask(app, method, f"/v1/videos/{name}", headers=yours).status_code == 404
        assert ask(app, "GET", "/v1/videos", headers=yours).json()["data"] == []
        assert ask(app, "GET", "/healthz").status_code == 200


def test_a_withdrawn_key_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = new_key(file, "anna")
    keys = Keys(file)
    assert keys.owner(key)
    file.write_text('{"keys": []}')
    os.utime(file, (1, 1))
    assert keys.owner(key) is None
    file.unlink()
    assert keys.owner(key) is None
    with pytest.raises(SfvError, match="--new-key"):
        Keys(file)


@pytest.mark.parametrize("mark", ["# ", "// ", "-"])
def test_a_line_that_is_marked_as_none_opens_nothing(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "keys.json"
    first, second = new_key(file, "a"), new_key(file, "b")
    one, two = file.read_text().splitlines()
    file.write_text(f"{mark}{one}\n{two}\n")
    keys = Keys(file)
    assert keys.owner(first) is None and keys.owner(second)
    file.write_text(json.dumps({"keys": [json.loads(two)], "withdrawn": [json.loads(one)]}, indent=1))
    keys = Keys(file)
    assert keys.owner(first) is None and keys.owner(second)


def test_a_file_of_keys_that_was_away_lets_everybody_in_again(tmp_path: Path) -> None:
    file, away = tmp_path / "keys.json", tmp_path / "away"
    key = new_key(file, "anna")
    keys = Keys(file)
    file.rename(away)
    assert keys.owner(key) is None
    away.rename(file)
    assert keys.owner(key)


def test_a_file_of_keys_with_the_time_of_the_one_before_is_read_anew(tmp_path: Path) -> None:
    file, other = tmp_path / "keys.json", tmp_path / "other.json"
    anna, ben = new_key(file, "anna"), new_key(other, "ben")
    keys, before = Keys(file), file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert keys.owner(anna) is None and keys.owner(ben)


OLD = '{"keys": [{"id": "a1", "name": "a", "salt": "s", "hash": "HASH"}, {"id": "b2", "salt": "t", "hash": "HASH"}]}'


def old_keys(file: Path) -> list[str]:
    """A file as earlier versions wrote them, of many lines for each entry; its keys."""
    keys, entries = ["sfv_a1_x", "sfv_b2_x"], json.loads(OLD)["keys"]
    for key, entry in zip(keys, entries, strict=True):
        entry["hash"] = hashlib.sha256(f"{entry['salt']}:{key}".encode()).hexdigest()
    file.write_text(json.dumps({"keys": entries}, indent=1))
    return keys


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_line_taken_from_the_file_withdraws_that_key_alone(tmp_path: Path, gone: int) -> None:
    file = tmp_path / "keys.json"
    made = [new_key(file, name) for name in ("anna", "b{e}n", "carl")]
    keys, lines = Keys(file), file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    assert [keys.owner(key) is not None for key in made] == [i != gone for i in range(3)]


def test_files_of_keys_by_earlier_versions_are_read_and_added_to(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    old = old_keys(file)
    assert [Keys(file).owner(key) for key in old] == ["a1", "b2"]
    keys = Keys(file)
    assert all(keys.owner(key) for key in [*old, new_key(file, "carl")])
    assert len(file.read_text().splitlines()) == 3


@pytest.mark.parametrize("taken", ['"salt": "s"', '"salt": "t"', '"hash"', '"id": "b2"'])
def test_an_entry_that_is_not_whole_opens_nothing_and_is_logged_once(
    tmp_path: Path, taken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a file by an earlier version, from which one line of an entry was taken (of the last one that has it)."""
    file = tmp_path / "keys.json"
    old = old_keys(file)
    lines = file.read_text().splitlines()
    del lines[max(i for i, line in enumerate(lines) if taken in line)]
    file.write_text("\n".join(lines))
    keys = Keys(file)
    found = [keys.owner(key) for key in old * 3]
    assert found == ([None, "b2"] if taken.endswith('"s"') else ["a1", None]) * 3
    (said,) = [r.message for r in caplog.records]
    assert f"{file}, line " in said and "not all of id, salt and hash" in said


def test_a_file_of_keys_whose_last_entry_was_taken_keeps_the_others(tmp_path: Path) -> None:
    """Of an earlier version: a comma is left behind the one before."""
    file = tmp_path / "keys.json"
    old, text = old_keys(file), file.read_text()
    file.write_text(text[: text.rindex("{")] + "]}")
    keys = Keys(file)
    assert [keys.owner(key) for key in old] == ["a1", None]


@pytest.mark.parametrize("text", ["keys", "[1]", '{"keys": 3}', "\xff", '{"id": "a", "salt": "s", "hash": "\u00e9"}'])
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(SfvError, match=rf"^{file} is no file of keys \(.*\); make a new one"):
        Keys(file)


def test_documentation_needs_nothing_from_elsewhere(app: App) -> None:
    page = ask(app, "GET", "/docs")
    assert page.status_code == 200 and "/v1/animate" in page.text and "Motion bucket" in page.text
    assert "http://" not in page.text and "https://" not in page.text and "<script" not in page.text


def test_headers_of_every_answer(app: App) -> None:
    for path in ("/docs", "/healthz", "/nothing", "/v1/videos"):
        headers = ask(app, "GET", path).headers
        assert (
            headers["x-content-type-options"] == "nosniff"
            and "frame-ancestors 'none'" in headers["content-security-policy"]
        )
    assert "access-control-allow-origin" not in ask(app, "GET", "/", headers={"origin": "https://a.example"}).headers


def test_counters(app: App) -> None:
    create(app)
    ask(app, "GET", "/v1/videos/video_x")
    text = ask(app, "GET", "/metrics").text
    assert 'sfv_jobs{status="queued"} 1.0' in text and "sfv_jobs_accepted_total 1.0" in text
    assert 'route="/v1/videos/{id}",status="404"' in text and "video_x" not in text


def test_two_servers_do_not_share_a_folder(app: App) -> None:
    with pytest.raises(SfvError, match="another server"):
        create_app(app.service.settings, open_quick)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--queue", "0"], "--queue"),
        (["--database", "mysql://x"], "postgresql"),
        (["--database", "sqlite:///"], "sqlite:///FILE"),
        (["--database", "sqlite:///:memory:"], "sqlite:///FILE"),
        (["--database", "postgresql+psycopg://a:b@127.0.0.1:1/none"], "--database"),
        (["--new-key", "a"], "--keys"),
        (["--data", "/proc/nowhere"], "--data"),
        (["--store", "ftp://x"], "s3://"),
        (["--keys", "/nowhere/keys.json"], "--new-key"),
    ],
)
def test_bad_flags_are_one_sentence(
    flags: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if "--data" in flags else ["--data", str(tmp_path)]
    assert main(["serve", *flags, *where]) != 0
    said = capsys.readouterr().err
    assert word in said and len(said.splitlines()) == 1


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A picture file with some of its bytes changed, taken away, doubled or cut off."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(5)
        if kind == 0:
            data = data[: max(1, at)]
        elif kind == 1:
            data[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(0, 8))
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at:at] = data[at : at + 32]
        else:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"])
    return bytes(data)


def body(rng: random.Random, seeds: list[bytes]) -> tuple[bytes, str]:
    """A body that is damaged somewhere: its picture, its fields, its multipart frame, or its type."""
    mark = rng.choice(["b", "b" * 69, "--", "b\x00"])
    names = ["picture", "seed", "steps", "background", "\xff", "", "model", "format", "picture[]", "transparent"]
    parts = []
    for i in range(rng.randint(1, 4)):
        name = "picture" if i == 0 and rng.random() < 0.8 else rng.choice(names)
        file = f'; filename="{rng.choice(["a.png", "../../x", "", chr(0)])}"' if name == "picture" else ""
        told = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode("latin-1")
        value = mutated(rng, seeds) if file else rng.choice([b"", b"1e999", b"nan", b"\xff\xfe", b"-1", b"9" * 5000])
        parts.append(told + value + b"\r\n")
    whole = b"".join(parts) + f"--{mark}--\r\n".encode()
    if rng.random() < 0.15:
        whole = mutated(rng, [whole])
    kinds = [f"multipart/form-data; boundary={mark}"] * 12
    kinds += ["multipart/form-data", "application/json", "multipart/form-data; boundary=" + "x" * 300, "\xff"]
    return whole, rng.choice(kinds)


def scope_of(kind: str) -> dict[str, Any]:
    """Of a POST of a video with a body of this type."""
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": "/v1/videos", "raw_path": b"/v1/videos", "root_path": "", "query_string": b""}
    return scope | {"headers": [(b"content-type", kind.encode("latin-1"))], "client": ("x", 1), "server": ("x", 80)}


async def post(app: App, data: bytes, kind: str) -> tuple[int, bytes]:
    """One POST as plain ASGI, which takes a third of a client's time; status and body."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(kind), receive, send)
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Starlette drops files half read
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_malformed_bodies(tmp_path: Path, count: int) -> None:
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    rng, codes = random.Random(0), dict[int, int]()
    seeds = []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        out = io.BytesIO()
        Image.open(io.BytesIO(png())).convert("RGB").save(out, kind)
        seeds.append(out.getvalue())

    async def all_of_them(app: App) -> None:
        for i in range(count):
            data, kind = body(rng, seeds)
            status, said = await post(app, data, kind)
            codes[status] = codes.get(status, 0) + 1
            assert status < 500, (i, data, kind, said)

    for app in made(tmp_path, queue=100_000):
        asyncio.run(all_of_them(app))
    assert sum(codes.values()) == count and set(codes) <= {202, 400, 413, 415, 422} and codes[422] > count / 10
