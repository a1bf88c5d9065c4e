"""The page's server in one process, with a tiny model: messages, refusals, the newest wish, recipes, ports."""

import ast
import asyncio
import contextlib
import io
import json
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from sfv.cli.main import main
from sfv.demo import session
from sfv.demo.app import create_demo
from sfv.demo.cache import LruCache
from sfv.demo.keeping import platform_settings
from sfv.demo.race import Stopped, race, suited
from sfv.demo.server import _Server, listen
from sfv.demo.session import Ask, Studio
from sfv.demo.snippets import command_line, python_lines
from sfv.errors import RequestError, SfvError, UploadError
from sfv.families.base import VideoModel
from sfv.generation.generate import generate
from sfv.limits import ModelLimits
from sfv.settings import Defaults, Settings, Speed
from sfv.speed.optimize import open_model
from sfv.web.ports import is_loopback, take

Told = tuple[dict[str, Any], bytes]
STICKER = Defaults(frames=24, height=128, width=128, fps=8, play_fps=24)


def png(seed: int = 0, mode: str = "RGB") -> bytes:
    shape = (24, 40, len(mode))
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode).save(out, "PNG")
    return out.getvalue()


def messages(data: bytes) -> list[Told]:
    found = []
    while data:
        head, body = (int.from_bytes(data[i : i + 4], "little") for i in (0, 4))
        found.append((json.loads(data[8 : 8 + head]), data[8 + head : 8 + head + body]))
        data = data[8 + head + body :]
    return found


@pytest.fixture(scope="module")
def client(tiny_folder: Path) -> Iterator[TestClient]:
    ready = threading.Event()
    rows = (f"{tiny_folder}@exact/eager:1", f"{tiny_folder}@exact/eager:3")
    app = create_demo(rows, "cpu", Speed(), ("testserver",), lambda _: ready.set())
    with TestClient(app) as client:
        assert ready.wait(300)
        yield client


@pytest.fixture
def picture(client: TestClient) -> str:
    return str(client.post("/api/picture", content=png()).json()["id"])


@pytest.fixture
def clear(client: TestClient) -> str:
    return str(client.post("/api/picture", content=png(mode="RGBA")).json()["id"])


def shown(picture: str, name: str = "cat.png", **settings: Any) -> dict[str, Any]:
    return {"ask": {"picture": picture, "settings": settings}, "name": name}


def test_a_clip_travels_whole(client: TestClient, picture: str, tiny_folder: Path) -> None:
    answer = client.post("/api/clip", json=shown(picture, seed=3, motion=40.0))
    ((told, body),) = messages(answer.content)
    assert told["frames"] == 4 and told["calls"] == 2 and {"encode", "unet", "decode"} == set(told["seconds"])
    frames = np.frombuffer(body, np.uint8).reshape(4, told["height"], told["width"], 4)
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(png()))))
    model = open_model(str(tiny_folder), "cpu", Speed(profile="exact", backend="eager"))
    own = generate(model, pixels, seed=3, motion=40.0, steps=1)
    assert (frames[..., 3] == 255).all() and np.array_equal(frames[..., :3], own.frames.numpy())


def test_motion_alone_encodes_nothing(client: TestClient, picture: str) -> None:
    app: Any = client.app
    studio: Studio = app.state.studio
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    hook = studio.models[studio.rows[0].name].conditioner.picture_tower().register_forward_hook(count)
    for seed, motion in ((50, 1), (50, 2), (50, 250), (51, 250)):
        assert client.post("/api/clip", json=shown(picture, seed=seed, motion=motion)).status_code == 200
    hook.remove()
    assert counted == 2


def test_a_clip_does_not_depend_on_a_smaller_one_before_it() -> None:
    studio = Studio(("sticker@exact/eager",), "cpu", Speed())
    key, sent = studio.take((files("sfv") / "examples/cup.png").read_bytes())
    shared = {"seed": 1, "play_fps": 8.0}
    made = [studio._make(Ask(picture=key, settings=Settings(size=size, **shared))) for size in ("128", "256")]
    alone = generate(studio.models["sticker@exact/eager"], sent.rgb, size="256", **shared)
    assert made[1] is not None and torch.equal(made[1].frames, alone.frames)


def test_the_newest_wish_wins(client: TestClient, picture: str) -> None:
    def wish(turn: int, visit: str = "me") -> int:
        order = shown(picture, seed=turn)
        order["ask"] |= {"visit": visit, "turn": turn}
        return client.post("/api/clip", json=order).status_code

    assert [wish(5), wish(4), wish(6), wish(4, "another")] == [200, 204, 200, 200]


@pytest.fixture
def busy(client: TestClient) -> Iterator[threading.Event]:
    """The computing thread works at something else until the event is set, half a minute at most."""
    app: Any = client.app
    done = threading.Event()
    app.state.studio.thread.submit(done.wait, 30)
    yield done
    done.set()


def test_what_cannot_be_made_is_refused_before_it_waits(
    client: TestClient, picture: str, busy: threading.Event
) -> None:
    for path, settings, sentence in (
        ("clip", {"steps": 51}, "steps: 51 are more than the 50 allowed here"),
        ("file", {"steps": 1000}, "steps: 1000 are more"),
        ("clip", {"height": 17}, "multiples"),
        ("clip", {"background": "no colour"}, "colour"),
        ("clip", {"transparent": True}, "nowhere transparent"),
        ("race", {"width": 17}, "multiples"),
    ):
        began = time.monotonic()
        answer = client.post(f"/api/{path}", json=shown(picture, **settings))
        assert answer.status_code == 422 and sentence in answer.json()["error"]
        assert time.monotonic() - began < 20
    gone = client.post("/api/race", json={"ask": {"picture": "gone"}})
    assert gone.status_code == 422 and "choose it again" in gone.json()["error"]


@pytest.mark.parametrize("path", ["clip", "file"])
def test_of_a_client_who_leaves_before_its_turn_nothing_is_made(
    client: TestClient, picture: str, busy: threading.Event, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: Any = client.app
    made: list[int] = []
    monkeypatch.setattr("sfv.demo.session.begin", lambda *_: made.append(1))
    body, said = json.dumps(shown(picture, seed=987)).encode(), []
    headers = [(b"host", b"testserver"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": f"/api/{path}", "headers": headers, "query_string": b""}
    parts = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        said.append(message)

    async def leave() -> None:
        asking = asyncio.create_task(app(scope | {"http_version": "1.1"}, receive, send))
        await asyncio.sleep(0.5)
        assert not asking.done()
        busy.set()
        await asking

    asyncio.run(leave())
    assert said[0]["status"] == 409 and made == []
    monkeypatch.undo()
    assert client.post("/api/clip", json=shown(picture, seed=987)).status_code == 200


def posted(app: Any, path: str, order: Any) -> tuple[asyncio.Task[None], list[Any]]:
    """A request of a client that stays, under way, and what it is sent."""
    body, said, stays = json.dumps(order).encode(), list[Any](), asyncio.Event()
    headers = [(b"host", b"testserver"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    parts = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        for part in parts:
            return part
        await stays.wait()

    async def send(message: Any) -> None:
        said.append(message)

    return asyncio.create_task(app(scope | {"http_version": "1.1"}, receive, send)), said


@pytest.mark.parametrize("path", ["/api/clip", "/api/file", "/api/race"])
def test_who_is_cut_off_by_the_servers_end_gets_a_sentence(
    client: TestClient, picture: str, busy: threading.Event, path: str
) -> None:
    app: Any = client.app
    studio: Studio = app.state.studio

    async def cut_off() -> list[Any]:
        waiting = studio.thread._work_queue.qsize()
        asking, said = posted(app, path, shown(picture, seed=321))
        while studio.thread._work_queue.qsize() == waiting:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asking
        return said

    said = asyncio.run(cut_off())
    if path == "/api/race":  # its answer has begun: its end is all that can be sent
        assert [m["type"] for m in said if m.get("status", 200) != 200] == []
    else:
        assert said[0]["status"] == 503 and "start it again" in json.loads(said[1]["body"])["error"]


def test_a_server_that_stops_drops_what_runs(tiny_folder: Path) -> None:
    studio = Studio((str(tiny_folder),), "cpu", Speed())
    server = _Server(uvicorn.Config(lambda *_: None), studio)
    key, _ = studio.take(png())
    server.handle_exit(signal.SIGTERM, None)
    with pytest.raises(RequestError, match="being stopped; start it again") as refused:
        studio._make(Ask(picture=key))
    assert refused.value.status == 503 and server.should_exit and not studio.models


def test_what_runs_stops_at_its_next_step_when_its_client_leaves(client: TestClient, picture: str) -> None:
    app: Any = client.app
    studio: Studio = app.state.studio

    class Leaving(threading.Event):
        """Set from the second look on."""

        def is_set(self) -> bool:
            before = super().is_set()
            self.set()
            return before

    ask = Ask(picture=picture, settings=Settings(seed=654))
    with pytest.raises(RequestError, match="left"):
        studio._make(ask, Leaving())
    assert studio.clips.get(ask.key()) is None


def test_a_page_may_allow_more_steps(tiny_folder: Path) -> None:
    studio = Studio((str(tiny_folder),), "cpu", Speed(), 60)
    key, _ = studio.take(png())
    studio.check(Ask(picture=key, settings=Settings(steps=60)))
    with pytest.raises(SfvError, match="more than the 60"):
        studio.check(Ask(picture=key, settings=Settings(steps=61)))


def test_an_upload_without_anything_in_it_is_refused(tiny_folder: Path) -> None:
    """It was taken for an opaque one: a white clip."""
    out = io.BytesIO()
    Image.new("RGBA", (32, 32)).save(out, "PNG")
    with pytest.raises(UploadError, match="the picture is transparent everywhere: there is nothing to move") as raised:
        Studio((str(tiny_folder),), "cpu", Speed(), 60).take(out.getvalue())
    assert raised.value.status == 422


def test_the_flag_of_steps_reaches_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    real: list[Any] = []

    def begin(server: Any, sockets: list[socket.socket]) -> None:
        real.append(server.config.app.state.studio.max_steps)
        sockets[0].close()

    monkeypatch.setattr("uvicorn.Server.run", begin)
    assert main(["demo", "--no-open", "--port", "0", "--max-steps", "7"]) == 0 and real == [7]


def test_files_carry_their_parameters(client: TestClient, picture: str, tmp_path: Path) -> None:
    answer = client.post("/api/file", json=shown(picture, seed=2, boomerang=True) | {"format": "webp"})
    assert answer.headers["content-type"] == "image/webp"
    (tmp_path / "a.webp").write_bytes(answer.content)
    assert main(["replay", str(tmp_path / "a.webp"), "-o", str(tmp_path / "b.webp")]) == 0
    assert (tmp_path / "b.webp").read_bytes() == answer.content


@pytest.mark.parametrize(
    ("path", "order", "status", "sentence"),
    [
        ("/api/clip", {"ask": {"picture": "gone"}}, 422, "choose it again"),
        ("/api/clip", {"ask": {"picture": "x", "settings": {"motion": 999}}}, 422, "ask.settings.motion"),
        ("/api/clip", {"ask": {"picture": "x"}, "extra": 1}, 422, "extra"),
        ("/api/file", {"ask": {"picture": "gone"}}, 422, "choose it again"),
    ],
)
def test_refusals_are_sentences(client: TestClient, path: str, order: Any, status: int, sentence: str) -> None:
    answer = client.post(path, json=order)
    assert answer.status_code == status and sentence in answer.json()["error"]


@pytest.mark.parametrize("body", ["", "{", "[]", "3"])
def test_a_body_that_is_no_object_is_told_without_an_empty_field(client: TestClient, body: str) -> None:
    answer = client.post("/api/clip", content=body, headers={"content-type": "application/json"})
    said = answer.json()["error"]
    assert answer.status_code == 422 and said.startswith("the body is no JSON object (")
    assert said.endswith("); send the request as one")


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/nothing", 404, "/nothing is no address of this page; open / for the page itself"),
        ("GET", "/page/nothing.js", 404, "/page/nothing.js is no address of this page; open / for the page itself"),
        ("GET", "/api/clip", 405, "/api/clip does not take GET; the page asks by GET or POST"),
    ],
)
def test_what_there_is_not_is_told_as_other_errors_are(
    client: TestClient, method: str, path: str, status: int, sentence: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status and answer.json() == {"error": sentence}


def test_settings_that_cannot_be_made_are_told(client: TestClient, picture: str) -> None:
    for settings, sentence in (
        ({"transparent": True}, "nowhere transparent"),
        ({"height": 17, "width": 32}, "multiples"),
    ):
        answer = client.post("/api/clip", json=shown(picture, **settings))
        assert answer.status_code == 422 and sentence in answer.json()["error"]
    answer = client.post("/api/race", json=shown(picture, height=17))
    assert answer.status_code == 422 and "multiples" in answer.json()["error"]


def test_bad_uploads_are_refused(client: TestClient) -> None:
    for data, status in ((b"", 400), (b"hello", 415), (b"\x89PNG\r\n\x1a\n" + bytes(99), 422), (bytes(22 << 20), 413)):
        assert client.post("/api/picture", content=data).status_code == status


def test_two_pictures_are_decoded_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def slow(data: bytes) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return layers(data)

    layers = session.checked_layers
    monkeypatch.setattr(session, "checked_layers", slow)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda i: client.post("/api/picture", content=png(i)).status_code, range(8)))
    assert answers == [200] * 8 and most <= 2


def test_what_a_large_picture_took_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(session, "give_back_memory", lambda: given.append(1))
    monkeypatch.setattr(session, "LARGE", 24 * 40 * 3)
    studio = Studio(("sticker",), "cpu", Speed())
    studio.take(png())
    assert not given
    studio.take(png(mode="RGBA"))
    assert given


@pytest.mark.parametrize(("command", "keeps"), [("serve", False), ("demo", True)])
def test_a_server_without_a_model_keeps_no_memory(
    command: str, keeps: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[int] = []
    monkeypatch.setattr("sfv.cli.main.keep_memory", lambda: kept.append(1))
    assert main([command, "--port", "70000"]) == 2 and bool(kept) == keeps


def test_other_sites_and_hosts_are_refused(client: TestClient, picture: str) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        assert client.post("/api/clip", json=shown(picture), headers=headers).status_code == 403
        assert client.post("/api/picture", content=png(), headers=headers).status_code == 403
    plain = client.post("/api/clip", content=json.dumps(shown(picture)), headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/page/../demo.py").status_code == 404


def test_the_page_asks_no_other_host(client: TestClient) -> None:
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    names = sorted(p.name for p in Path(str(files("sfv") / "demo/page")).iterdir())
    parts = [answer.text] + [client.get(f"/page/{name}").raise_for_status().text for name in names]
    assert {"main.js", "requests.js", "style.css", "index.html"} <= set(names)
    for text in parts:
        assert "//cdn" not in text and "@import" not in text and "url(http" not in text and 'src="http' not in text
    state = client.get("/api/state").json()
    assert state["ready"] and not state["error"] and len(state["models"]) == 2 and "frog.png" in state["examples"]


def test_a_race_counts_each_models_own_compute(client: TestClient, picture: str) -> None:
    told = messages(client.post("/api/race", json=shown(picture, seed=1)).content)
    heads = [head for head, _ in told]
    assert [h["event"] for h in heads if h["event"] != "step"] == ["lanes", *["open", "start", "done"] * 2, "end"]
    steps = [h for h in heads if h["event"] == "step" and h["lane"] == 1]
    assert [(h["step"], h["of"]) for h in steps] == [(1, 3), (2, 3), (3, 3)]
    clocks = [h["clock"] for h in steps]
    first, second = (h for h in heads if h["event"] == "done")
    assert (
        0
        < clocks[0]
        < clocks[1]
        < clocks[2]
        < second["clock"]
        == pytest.approx(sum(second["seconds"].values()), abs=1e-3)
    )
    assert heads[-1]["ratios"] == [1, pytest.approx(second["clock"] / first["clock"], rel=0.05)]
    shapes = [(h, len(body)) for h, body in told if body]
    assert any(h["event"] == "step" for h, _ in shapes)
    assert all(size == 4 * h["frames"] * h["height"] * h["width"] for h, size in shapes)


@pytest.mark.parametrize(("asked", "given"), [(None, None), (0.0, 0.0), (180.0, 140.0), (255.0, 255.0)])
def test_in_a_race_each_model_is_as_lively_for_itself(
    tiny: VideoModel, asked: float | None, given: float | None
) -> None:
    """The page's slider is the first model's, whose usual motion is 180; the other's is 140."""
    calm = replace(tiny, defaults=tiny.defaults.model_copy(update={"motion": 140.0}))
    ask = Ask(picture="", settings=Settings(motion=asked))
    assert suited(calm, ask, 180.0).settings.motion == given
    assert suited(calm, ask, 140.0).settings.motion == asked


def test_a_race_that_nobody_watches_stops(client: TestClient, picture: str) -> None:
    app: Any = client.app
    heard = []

    def tell(message: bytes) -> None:
        if len(heard) == 4:
            raise Stopped
        heard.append(message)

    with pytest.raises(Stopped):
        race(app.state.studio, Ask(picture=picture), tell)
    assert len(heard) == 4


def test_a_race_that_fails_in_any_way_ends(client: TestClient, picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("sfv.demo.app.race", broken)
    ((message, _),) = messages(client.post("/api/race", json=shown(picture)).content)
    assert message["event"] == "error" and "out of memory" in message["error"]


def test_a_model_that_breaks_when_it_is_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("sfv.demo.session.open_model", broken)
    studio = Studio(("sticker",), "cpu", Speed())
    studio.open()
    assert studio.ready.is_set() and "out of memory" in studio.trouble


def test_a_model_that_cannot_be_opened_is_told() -> None:
    ready = threading.Event()
    with TestClient(
        create_demo(("no/such/model",), "cpu", hosts=("testserver",), on_ready=lambda _: ready.set())
    ) as client:
        assert ready.wait(300)
        assert "no/such/model" in client.get("/api/state").json()["error"]
    with pytest.raises(SfvError, match="MODEL"):
        create_demo(("sticker:none",))


def test_recipes_are_safe_to_paste(client: TestClient) -> None:
    app: Any = client.app
    studio: Studio = app.state.studio
    row, model = studio.rows[0], studio.models[studio.rows[0].name]
    ask = Ask(picture="p", mask="m", settings=Settings(seed=4, motion=model.defaults.motion, boomerang=True))
    for name in ("a b.png", "$(reboot).png", "-rf.png", "../../x.png", "'\"\n`id`.png", "C:\\x\\y.png", ".."):
        words = shlex.split(command_line(ask, row, model, name, "webp"))
        assert words[:2] == ["sfv", "generate"] and not words[2].startswith("-") and "/" not in words[2] + words[4]
        assert words[5:7] == ["--model", row.model] and words[7:] == [
            *("--seed", "4", "--boomerang", "--steps", "1", "--keep-still", "mask.png"),
            *("--profile", "exact", "--backend", "eager"),
        ]
        compile(python_lines(ask, row, model, name, "webp"), "recipe", "exec")
        words = shlex.split(command_line(ask, row, model, name, "webp", "slack"))
        assert words[3:5] == ["--for", "slack"] and "--size" not in words
        compile(python_lines(ask, row, model, name, "webp", "slack"), "recipe", "exec")


@pytest.mark.parametrize(
    "name", ["\U0001f431 cat.png", "\U0001f468\u200d\U0001f467.png", "9.41\u202fAM.png", "\u00e9 'a\".png"]
)
def test_python_lines_name_the_file_as_it_is(client: TestClient, name: str) -> None:
    """Emoji, what joins them, the narrow space of macOS's screenshots, quotes."""
    app: Any = client.app
    studio: Studio = app.state.studio
    row, model = studio.rows[0], studio.models[studio.rows[0].name]
    for platform, made in ((None, f"{Path(name).stem}-clip.webp"), ("slack", f"{Path(name).stem}-clip-slack.gif")):
        lines = python_lines(Ask(picture="p"), row, model, name, "webp", platform)
        calls = [c for c in ast.walk(ast.parse(lines)) if isinstance(c, ast.Call) and ast.unparse(c.func) == "Path"]
        assert sorted(ast.literal_eval(c.args[0]) for c in calls) == sorted([name, made])
    assert shlex.split(command_line(Ask(picture="p"), row, model, name, "webp"))[2] == name


def test_a_name_that_is_too_long_is_a_sentence(client: TestClient, picture: str) -> None:
    answer = client.post("/api/clip", json=shown(picture, "x" * 301))
    said = "name: it has 301 characters, more than 300; send a shorter name of the picture"
    assert answer.status_code == 422 and answer.json()["error"] == said
    assert client.post("/api/clip", json=shown(picture, "x" * 300)).status_code == 200


def test_a_messenger_that_is_none_is_refused(client: TestClient) -> None:
    answer = client.post("/api/file", json={"ask": {"picture": "p"}, "platform": "myspace"})
    assert answer.status_code == 422 and "platform: no such platform; choose from telegram" in answer.text


def test_a_format_without_transparency_is_refused_in_the_pages_words(client: TestClient, clear: str) -> None:
    answer = client.post("/api/file", json=shown(clear, transparent=True) | {"format": "mp4"})
    said = answer.json()["error"]
    assert answer.status_code == 422 and said.startswith("format: mp4 holds no transparency; choose one of webp")


def test_what_a_messenger_does_not_take_is_said_in_the_pages_words(
    client: TestClient, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shown(picture, fps=2, frames=12) | {"platform": "telegram"}
    answer = client.post("/api/file", json=order)
    said = (
        "length: telegram takes 3 s at most, and this clip would last 6 s; choose a shorter length, or more frames a "
    )
    assert answer.status_code == 422 and answer.json()["error"].startswith(said)
    loops = ModelLimits("loops", STICKER, 8, loops=True)
    with pytest.raises(SfvError, match=r"length: telegram takes 3 s at most, and this clip would last 9 s"):
        platform_settings(Settings(seconds=9), "telegram", loops)
    assert platform_settings(Settings(seconds=2.9), "telegram", loops).size == "512"
    with pytest.raises(SfvError, match="would last 5"):
        platform_settings(Settings(seconds=2.9, boomerang=True), "telegram", loops)


def test_no_place_of_the_server_and_no_flag_is_shown(
    client: TestClient, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(frames: Any, path: Path, *_: Any) -> None:
        raise SfvError(f"{path}: there is no room; give a shorter clip by --play-fps")

    monkeypatch.setattr("sfv.demo.keeping.write_clip", full)
    answer = client.post("/api/file", json=shown(picture))
    assert answer.status_code == 422
    assert answer.json()["error"] == "the clip: there is no room; give a shorter clip by play fps"


def test_shelves_forget_what_is_least_used() -> None:
    shelf: LruCache[str] = LruCache(10, len)
    for key, thing in (("a", "aaaa"), ("b", "bbbb")):
        shelf.put(key, thing)
    assert shelf.get("a") == "aaaa"
    shelf.put("c", "cccc")
    assert (shelf.get("a"), shelf.get("b"), shelf.get("c"), shelf.held) == ("aaaa", None, "cccc", 8)
    shelf.put("c", "c" * 20)
    assert shelf.get("a") is None and shelf.held == 20


def test_the_next_free_port_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 50
    with pytest.raises(SfvError, match="--port"):
        listen("192.0.2.1", 7860)


@pytest.mark.parametrize("port", ["0", "taken"])
def test_the_address_that_is_said_has_the_real_port(
    port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any free port, and of the next one where the one asked for is taken."""
    real: list[int] = []

    def begin(server: object, sockets: list[socket.socket]) -> None:
        for one in sockets:
            real.append(one.getsockname()[1])
            one.close()

    monkeypatch.setattr("uvicorn.Server.run", begin)
    with listen("127.0.0.1", 0) as first:
        asked = first.getsockname()[1] if port == "taken" else 0
        assert main(["demo", "--no-open", "--port", str(asked)]) == 0
    assert real[0] not in (0, asked)
    assert capsys.readouterr().out.startswith(f"http://127.0.0.1:{real[0]}  (loading")


@pytest.mark.parametrize(
    ("host", "port"),
    [("192.0.2.1", 7860), ("no such host", 7860), ("2001:db8::1", 0), ("127.0.0.1", 65535)],
    ids=["another machine", "no host", "another IPv6 machine", "the last port, taken"],
)
def test_an_address_that_cannot_be_had_is_one_sentence_and_never_said(
    host: str, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: pytest.fail("it was begun"))
    with contextlib.ExitStack() as held:
        if port == 65535:
            with contextlib.suppress(OSError):  # somebody else holds it
                held.enter_context(take(host, port))
        assert main(["demo", "--no-open", "--host", host, "--port", str(port)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.endswith("; name another with --port or --host\n")
    assert said.err.startswith(f"sfv: no port from {port} on can be used at {host} (")


def test_only_loopback_is_private() -> None:
    found = [
        is_loopback(h) for h in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0", "192.168.1.2", "example.org")
    ]
    assert found == [True] * 4 + [False] * 3


def test_bad_flags_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", "70000"]) == 2
    assert "--port 70000" in capsys.readouterr().err
    assert main(["demo", "--models", "sticker:none", "--no-open", "--port", "0"]) == 1
    assert "must be MODEL" in capsys.readouterr().err
