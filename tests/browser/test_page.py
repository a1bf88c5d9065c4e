"""The page that needs no server, in real Chromium: the embedded model's, from a plain static host."""

import base64
import io
import re
import shlex
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chromium import (
    NEEDS_CHROMIUM,
    PATIENCE,
    SPILLS,
    Page,
    chromium,
    drop,
    moments,
    newer,
    pixels,
    shot,
    slide,
    turn,
    until,
)
from faces import Drawn, face
from PIL import Image

from sfv.browser.runtime import runtime_files
from sfv.cli.main import main
from sfv.decoding.blinking import Lids, shares
from sfv.decoding.directed import Body, body_of, carried, taken
from sfv.decoding.dragging import dragged
from sfv.decoding.eyes import eyes_in
from sfv.decoding.whereabouts import places
from sfv.edm.noise import seeded_noise
from sfv.errors import SfvError
from sfv.generation.clip import Still
from sfv.generation.directing import arrow_in, held_to
from sfv.generation.stiff import liveliness, strength
from sfv.media import fit_sticker, read_clip
from sfv.settings import CARRIED, Move, Settings

EXAMPLES = Path(__file__).parent.parent.parent / "src" / "sfv" / "examples"
EQUAL = 45.0
"""Decibels between the page's frames and the command line's."""
FLAT = 1.1
"""How much more memory many clips may take than a few."""
EAGER = "--enable-blink-features=ForceEagerMeasureMemory"
pytestmark = [NEEDS_CHROMIUM, pytest.mark.weights]


class Host(SimpleHTTPRequestHandler):
    """`python -m http.server` in silence; of the file named in `cut` only the half is sent."""

    cut = ""

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """As the standard library's, but for the file to be cut."""
        if self.cut and self.path.endswith(self.cut):
            outputfile.write(source.read(100_000))
            return
        super().copyfile(source, outputfile)


class Cutting(Host):
    """Of the UNet only the beginning."""

    cut = "unet.onnx"


@contextmanager
def served(folder: Path, handler: type[Host] = Host) -> Iterator[str]:
    """The folder's address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported folder, through the command."""
    try:
        runtime_files()
    except SfvError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("site") / "page"
    assert main(["export", "sticker", str(out), "--to", "web"]) == 0
    return out


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(EAGER) as started:
        yield started


@pytest.fixture(scope="module")
def page(browser: Any, url: str) -> Iterator[Page]:
    """One visit for all tests, since a page takes seconds to load; no test needs what another left.

    Anything that the page complains of in the console, and any request to another host, fails.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE * 1000)
    visit, complaints, asked = context.new_page(), list[str](), list[str]()
    context.on("request", lambda request: asked.append(request.url))
    visit.on("pageerror", lambda error: complaints.append(str(error)))
    visit.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    visit.goto(f"{url}?live=on")
    visit.wait_for_selector("body[data-ready=yes]")
    yield visit
    context.close()
    assert complaints == []
    assert [a for a in asked if not a.startswith((url, f"blob:{url}", "data:"))] == [] and len(asked) > 20


@pytest.fixture(autouse=True)
def at_rest(request: pytest.FixtureRequest) -> None:
    """The first view with the cat, its usual settings and no notice."""
    if "page" not in request.fixturenames:
        return
    visit = request.getfixturevalue("page")
    visit.set_viewport_size({"width": 1280, "height": 900})
    visit.click("#tab-animate")
    before = turn(visit)
    visit.fill("#seed", str(before + 100))  # so that there is a newer clip
    visit.click("[data-name='cat.png']")
    visit.select_option("#format", "webp-clear")
    visit.select_option("#stiff", "auto")
    visit.select_option("#move", "free")
    visit.check("input[name=enlarge][value='1']", force=True)
    newer(visit, before)
    settled(visit)


def settled(page: Page) -> None:
    """Wait until nothing more is made: a change begins its clip within 120 ms."""
    page.wait_for_timeout(400)
    until(page, "() => document.querySelector('#busy').hidden")


def shown(page: Page) -> np.ndarray[Any, Any]:
    """All frames of the clip on the stage, RGBA."""
    said = page.evaluate(
        """async () => {
            const { clip } = (await import("./state.js")).state;
            const address = new FileReader();
            const read = new Promise((done) => (address.onload = done));
            address.readAsDataURL(new Blob([clip.data]));
            await read;
            return [clip.frames, clip.height, clip.width, address.result.split(",")[1]];
        }"""
    )
    return np.frombuffer(base64.b64decode(said[3]), np.uint8).reshape(*said[:3], 4)


def over_white(rgba: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def decibels(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    error = np.mean((over_white(a) - over_white(b)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def frames(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as clip:
        found = []
        for i in range(getattr(clip, "n_frames", 1)):
            clip.seek(i)
            found.append(np.asarray(clip.convert("RGBA")))
    return np.stack(found)


def commanded(page: Page, folder: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the shown command writes."""
    words = shlex.split(page.inner_text("#command"))
    shutil.copy(picture, folder / words[2])
    monkeypatch.chdir(folder)
    assert words[:2] == ["sfv", "generate"] and main([*words[1:], "--profile", "exact", "--backend", "eager"]) == 0
    return folder / words[4]


@pytest.mark.parametrize(
    ("name", "seed", "side", "stiff", "move"),
    [
        ("owl.png", 3, 128, "auto", "auto"),
        ("alarm-clock.png", 1, 128, "on", "free"),
        ("cup.png", 2, 256, "auto", "wave"),
        ("cat.png", 4, 128, "off", "float 0.3,0.25:0.2,0.1"),
        ("cup.png", 4, 128, "auto", "spin 0.5,0.5:0.5,0.2"),
        ("frog.png", 5, 256, "auto", "blink"),
        ("frog.png", 6, 128, "auto", "auto"),
        ("cup.png", 6, 128, "auto", "auto"),
    ],
)
def test_frames_are_the_command_lines(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int, side: int, stiff: str, move: str
) -> None:
    """A creature, a thing that moves as one body, a picture larger than the network's that follows a word, and an arrow
    with a word."""
    before = turn(page)
    page.fill("#seed", str(seed))
    page.click(f"[data-name='{name}']")
    page.check(f"input[name=enlarge][value='{side // 128}']", force=True)
    page.select_option("#stiff", stiff)
    word, _, drag = move.partition(" ")
    page.select_option("#move", word)
    page.select_option("#format", "png-clear")
    newer(page, before)
    settled(page)
    if drag:
        before = turn(page)
        page.evaluate(
            """async (drag) => {
                (await import("./state.js")).state.drag = drag;
                (await import("./animate.js")).animate(0);
            }""",
            drag,
        )
        newer(page, before)
        settled(page)
    made = shown(page)
    wanted = frames(commanded(page, tmp_path, EXAMPLES / name, monkeypatch))
    assert made.shape == wanted.shape and len(made) == 72 and made.shape[1] == side
    assert np.abs(over_white(made[12]) - over_white(made[0])).mean() > 0.1
    assert decibels(made, wanted) >= EQUAL


def photo() -> np.ndarray:
    """Something like a photograph: it is moved with its border outside the frame, and scaled down first."""
    y, x = np.mgrid[0:330, 0:500]
    small = np.random.default_rng(0).integers(0, 255, (33, 50, 3), dtype=np.uint8)
    noise = np.asarray(Image.fromarray(small).resize((500, 330)))
    return noise // 2 + np.stack([x / 5, y / 4, 60 + 0 * x], -1).astype(np.uint8)


def banner() -> np.ndarray:
    """Balls in a row on plain ground, which would leave the picture: they have a few pixels of room."""
    y, x = np.mgrid[0:120, 0:500]
    ball = ((x % 100 - 50) ** 2 + (y - 60) ** 2 < 35**2)[..., None]
    colours = np.array([[200, 40, 40], [40, 90, 200], [40, 160, 60], [230, 180, 30], [120, 40, 160]])
    return np.where(ball, colours[x // 100], 245).astype(np.uint8)


def tight() -> np.ndarray:
    """A sticker that reaches over its clear picture's edges on all sides."""
    y, x = np.mgrid[0:150, 0:500]
    shape = ((x - 250) / 255) ** 2 + ((y - 75) / 80) ** 2 < 1
    colours = np.stack([x / 2, 60 + y, 200 - x / 4], -1)
    return np.concatenate([colours, 255 * shape[..., None]], -1).astype(np.uint8)


def bust() -> np.ndarray:
    """A sticker that the lower edge cuts off."""
    y, x = np.mgrid[0:250, 0:500]
    shape = ((x - 250) / 120) ** 2 + ((y - 280) / 200) ** 2 < 1
    return np.stack([60 + x / 4, 90 + y / 4, 140 + 0 * x, 255 * shape], -1).astype(np.uint8)


def shoulders() -> np.ndarray:
    """On plain ground, of a height that ends between two of the network's pixels."""
    y, x = np.mgrid[0:266, 0:500]
    shape = (((x - 250) / 160) ** 2 + ((y - 280) / 200) ** 2 < 1)[..., None]
    return np.where(shape, np.stack([60 + x / 4, 90 + y / 4, 140 + 0 * x], -1), 240).astype(np.uint8)


def carton() -> np.ndarray:
    """A box that ends at the right edge, to which it gets narrower."""
    y, x = np.mgrid[0:200, 0:300]
    shape = (np.abs(y - 100) < 80 - 0.4 * np.maximum(x - 180, 0)) & (x > 60)
    return np.stack([200 - x / 3, 60 + y, 80 + 0 * x, 255 * shape], -1).astype(np.uint8)


def logo() -> np.ndarray:
    """The same, paler, on plain ground."""
    sticker = tight()
    return np.where(sticker[..., 3:] > 0, 160 + sticker[..., :3] // 8, np.array([250, 240, 220])).astype(np.uint8)


PICTURES = {f.__name__: f for f in (photo, banner, tight, logo, bust, shoulders, carton)}


@pytest.mark.parametrize(
    ("name", "shape", "form", "move"),
    [
        ("photo", (84, 128), "png", "auto"),
        ("banner", (30, 128), "png", "auto"),
        ("tight", (38, 128), "png-clear", "auto"),
        ("logo", (38, 128), "png", "auto"),
        ("bust", (64, 128), "png-clear", "auto"),
        ("bust", (64, 128), "png-clear", "float"),
        ("shoulders", (68, 128), "png", "float"),
        ("carton", (86, 128), "png-clear", "float"),
    ],
)
def test_a_picture_that_is_wider_than_high(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, int], form: str, move: str
) -> None:
    given = tmp_path / f"{name}.png"
    Image.fromarray(PICTURES[name]()).save(given)
    before = turn(page)
    drop(page, given.read_bytes(), given.name)
    page.select_option("#move", move)
    page.select_option("#format", form)
    newer(page, before)
    until(page, f"() => document.querySelector('#command').innerText.includes('{name}')")
    settled(page)
    before = turn(page)
    if not page.is_checked("input[name=enlarge][value='1']"):  # a picture's own size is chosen for it
        page.check("input[name=enlarge][value='1']", force=True)
        newer(page, before)
        settled(page)
    (tmp_path / "again").mkdir()
    made, wanted = shown(page), frames(commanded(page, tmp_path / "again", given, monkeypatch))
    assert made.shape == wanted.shape == (72, *shape, 4)
    assert (made[..., 3].min() == 255) == (form == "png")
    assert decibels(made, wanted) >= EQUAL


@pytest.mark.parametrize(
    ("made", "taken", "why"),
    [
        ("{ frames: [10, 20, 31], seconds: 1 }", True, ""),
        ("{ frames: [10, 20, 31], seconds: 3 }", False, " WebGPU is slower here."),
        ("{ frames: [10, 20, 90], seconds: 1 }", False, " WebGPU's frames are not the same here (17 dB)."),
        ("{ frames: [10, NaN, 30], seconds: 1 }", False, " WebGPU's frames are not the same here (0 dB)."),
        ("{ frames: [], seconds: 1 }", False, " WebGPU's frames are not the same here (0 dB)."),
    ],
    ids=["equal", "slower", "other frames", "no numbers", "no frames"],
)
def test_another_back_end_must_prove_itself(page: Page, made: str, taken: bool, why: str) -> None:
    """Frames of the reference, and what a back end made of the same."""
    found = page.evaluate(
        f"""async () => {{
            const {{ judged }} = await import("./backends.js");
            return judged({{ frames: [10, 20, 30], seconds: 2 }}, {made});
        }}"""
    )
    assert (found["taken"], found["why"]) == (taken, why)


def body_seen(picture: torch.Tensor, box: tuple[int, int, int, int]) -> str:
    """Layers (4, y, x) as the page's scripts know a picture: an expression of them."""
    y, x = picture.shape[1:]
    top, left, height, width = box
    numbers = ",".join(f"{v:.6g}" for v in picture.flatten().tolist())
    return (
        f"{{first: Float32Array.of({numbers}), width: {x}, height: {y}, fills: false, shades: false,"
        f" large: {{width: {2 * x}, height: {2 * y}, data: new Float32Array({16 * x * y}).fill(-1)}},"
        f" box: {{top: {top}, left: {left}, width: {width}, height: {height}}}}}"
    )


def disc(side: int) -> torch.Tensor:
    """Layers of a disc on clear ground, to the left and below the middle."""
    y, x = torch.meshgrid(*(2 * [torch.arange(side) / side - 0.5]), indexing="ij")
    there = ((x + 0.1) ** 2 + (y - 0.15) ** 2 < 0.06).float()
    return torch.stack([there * (0.5 + x), there * 0.3, there * (0.5 - y), there]) * 2 - 1


@pytest.mark.parametrize("moved", [False, True])
def test_words_are_the_command_lines(page: Page, moved: bool) -> None:
    """What is kept of random motions for each word, and what the words of a program add, pixels of flow: to a thing
    that rests, and to one that its own motion takes about."""
    picture, rng = disc(24), torch.Generator().manual_seed(0)
    maps = 0.3 * (torch.rand(6, 3, 2, generator=rng, dtype=torch.float64) - 0.5)
    body = body_of(picture[3] > -0.9, (4 / 48 - 0.5, 2 / 48 - 0.5, 44 / 48 - 0.5, 46 / 48 - 0.5))
    seen, about = body_seen(picture, (2, 4, 44, 40)), taken_about(body, rng) if moved else None
    for word in get_args(Move):
        made = page.evaluate(
            f"""async () => {{
                const {{ bodyIn, carrying, heldTo }} = await import("./directed.js");
                const seen = {seen};
                const settings = {{ move: "{word}", frames: 24, fps: 8 }};
                const flows = carrying(settings, 0.7, 12, seen, {"null" if about is None else about.tolist()});
                return [heldTo("{word}", {maps.tolist()}, bodyIn(seen)), flows && flows.map((f) => [...f])];
            }}"""
        )
        torch.testing.assert_close(torch.tensor(made[0]).double(), held_to(word, maps, body), atol=1e-5, rtol=0)
        assert (made[1] is not None) == (word in CARRIED)
        if word in CARRIED:
            wanted = carried(word, torch.arange(12) / 12, 0.7, 3.0, body, 24, 24, about)
            torch.testing.assert_close(torch.tensor(made[1]).view_as(wanted), wanted, atol=1e-3, rtol=0)


def test_how_far_words_and_pictures_move_is_the_command_lines(page: Page) -> None:
    asked = [
        (motion, usual, more) for motion in (0, 90, 185, 220, 255) for usual in (0, 140, 185, 255) for more in (-60, 40)
    ]
    made = page.evaluate(
        """async (asked) => {
            const { liveliness, strength } = await import("./clip.js");
            return asked.map(([motion, usual, more]) => [liveliness(motion, usual, more), strength(motion, usual)]);
        }""",
        [list(a) for a in asked],
    )
    assert made == [pytest.approx([liveliness(*a), strength(*a[:2])]) for a in asked]


def taken_about(body: Body, rng: torch.Generator) -> torch.Tensor:
    """Where some places of a body are in twelve frames, up to a tenth of the frame away."""
    return body.points[::7] + 0.2 * (torch.rand(12, 1, 2, generator=rng, dtype=torch.float64) - 0.5)


def test_where_a_motion_takes_a_thing_is_the_command_lines(page: Page) -> None:
    """Places of its outline, between the frames of a loop, too; the page has them in another order."""
    picture, flow = disc(24), torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    flow = F.interpolate(flow, (24, 24), mode="bilinear")
    body = body_of(picture[3] > -0.9, (-0.5, -0.5, 0.5, 0.5))
    times = [0.0, 1.25, 2.5, 3.75]
    made = page.evaluate(
        f"""async ([flow, points]) => {{
            const {{ placesOf }} = await import("./inside.js");
            const parts = {{ frames: 4, width: 24, height: 24, flow: Float32Array.from(flow) }};
            return placesOf(parts, {{ points }}, {times});
        }}""",
        [flow.flatten().tolist(), body.points.tolist()],
    )
    wanted = places(flow, body.points, torch.tensor(times)).double()
    for mine, its in zip(wanted, torch.tensor(made).double(), strict=True):
        apart = torch.cdist(mine, its)
        assert float(apart.amin(0).max()) < 1e-4 and float(apart.amin(1).max()) < 1e-4


@pytest.mark.parametrize("word", CARRIED)
def test_where_a_word_takes_places_is_the_command_lines(page: Page, word: str) -> None:
    body = body_of(disc(24)[3] > -0.9, (-0.5, -0.5, 0.5, 0.5))
    flow, points = carried(word, torch.arange(6) / 6, 0.7, 3.0, body, 24, 24), body.points[::9]
    made = page.evaluate(
        f"""async ([flows, points]) => {{
            const {{ taken }} = await import("./directed.js");
            return flows.map((flow) => taken("{word}", Float32Array.from(flow), points, 24, 24));
        }}""",
        [flow.flatten(1).tolist(), points.tolist()],
    )
    wanted = taken(word, flow, points.expand(6, -1, -1)).double()
    torch.testing.assert_close(torch.tensor(made).double(), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_arrows_are_the_command_lines(page: Page, whole: bool, moved: bool) -> None:
    """Pixels of flow that an arrow adds, of a picture that is whole in a frame, cropped to it, or of its own shape; to
    a thing that rests, and to one that its own motion takes about."""
    picture, rng = disc(24), torch.Generator().manual_seed(0)
    body = body_of(picture[3] > -0.9, (4 / 48 - 0.5, 2 / 48 - 0.5, 44 / 48 - 0.5, 46 / 48 - 0.5))
    small, large = (torch.zeros(side, side, 3, dtype=torch.uint8) for side in (24, 48))
    still = Still(small, None, large, None, (2, 4, 44, 40))
    about = taken_about(body, rng) if moved else None
    for fit in ("own", "pad", "crop"):
        drag = "0.4,0.6:0.7,0.35"
        made = page.evaluate(
            f"""async () => {{
                const {{ dragging }} = await import("./dragging.js");
                const seen = {{...{body_seen(picture, (2, 4, 44, 40))}, source: {{ width: 100, height: 80 }}}};
                const flows = dragging({{ drag: "{drag}", fit: "{fit}" }}, 12, seen, {str(whole).lower()},
                    {"null" if about is None else about.tolist()});
                return flows.map((f) => [...f]);
            }}"""
        )
        arrow = arrow_in(Settings(drag=drag, fit=fit), (80, 100), still)
        assert arrow is not None
        wanted = dragged(arrow, torch.arange(12) / 12, body, 24, 24, whole, about)
        torch.testing.assert_close(torch.tensor(made).view_as(wanted), wanted, atol=1e-3, rtol=0)


DRAWN = [face(), face(white=True), face(ring="#ffe040", skin="#5a3c20"), face(white=True, brows=True, skin="#f3c9a8")]


@pytest.mark.parametrize("drawn", DRAWN)
def test_blinks_are_the_command_lines(page: Page, drawn: Drawn) -> None:
    """Which eyes are found, when they close, and the picture with its lids, at its size and larger."""
    eyes = eyes_in(drawn.picture, drawn.there)
    assert eyes is not None
    large = F.interpolate(drawn.picture, scale_factor=2, mode="bilinear")
    side = drawn.there.shape[0]
    made = page.evaluate(
        f"""async ([small, double]) => {{
            const {{ eyesIn }} = await import("./eyes.js");
            const {{ lidsOf, shares }} = await import("./blinking.js");
            const first = Float32Array.from(small);
            const seen = {{ first, width: {side}, height: {side}, fills: false, shades: false }};
            const large = {{ data: Float32Array.from(double), width: {2 * side}, height: {2 * side} }};
            const eyes = eyesIn(seen);
            const lids = lidsOf(seen, eyes);
            const own = {{ data: seen.first, width: {side}, height: {side} }};
            const none = {{ ...seen, first: new Float32Array(seen.first.length).fill(-1) }};
            return [eyes.map((eye) => [...eye.pixels]), [...lids(own, 0.6).data], [...lids(large, 1).data],
                    [shares(24, 3), shares(60, 6)], eyesIn(none)];
        }}""",
        [p.flatten().tolist() for p in (drawn.picture, large)],
    )
    found = torch.tensor(made[0], dtype=torch.bool).view(2, side, side)
    assert all(torch.equal(pixels, eye.pixels) for pixels, eye in zip(found, eyes, strict=True))
    lids = Lids(drawn.picture, eyes)
    for got, picture, share in ((made[1], drawn.picture, 0.6), (made[2], large, 1.0)):
        torch.testing.assert_close(torch.tensor(got).view_as(picture), lids.over(picture, share), atol=1e-4, rtol=0)
    for got, seconds in zip(made[3], (3.0, 6.0), strict=True):
        assert got == pytest.approx(shares(len(got), seconds))
    assert made[4] is None


def test_a_thing_without_eyes_does_not_blink(page: Page) -> None:
    page.click("[data-name='alarm-clock.png']")
    page.select_option("#move", "blink")
    until(page, "() => document.querySelector('#notice').textContent.includes('no pair of open eyes')")
    assert page.is_visible("#clip")


def test_noise_is_torchs(page: Page) -> None:
    made = page.evaluate("async () => [...(await import('./noise.js')).noise(12345, 1600)]")
    wanted = seeded_noise([12345], (1600,))[0]
    assert torch.allclose(torch.tensor(made), wanted, atol=1e-5)


def test_scaling_is_pillows(page: Page) -> None:
    with Image.open(EXAMPLES / "owl.png") as opened:
        owl = np.array(opened.convert("RGBA"))
    given = [owl.shape[1], owl.shape[0], base64.b64encode(owl.tobytes()).decode()]
    for side in (47, 200):
        made = page.evaluate(
            """async ([width, height, text, side]) => {
                const { lanczos } = await import("./resize.js");
                const data = Uint8ClampedArray.from(atob(text), (c) => c.charCodeAt(0));
                return [...lanczos({ width, height, data }, side, side).data];
            }""",
            [*given, side],
        )
        wanted = fit_sticker(torch.from_numpy(owl), side, side).numpy()
        assert decibels(np.array(made, np.uint8).reshape(side, side, 4), wanted) > 55


def test_runs_do_not_overlap_in_the_worker(page: Page) -> None:
    """Clips and files that are asked for at once, of an engine that counts; another copy of the module has none yet."""
    most = page.evaluate(
        """async () => {
            const { clip, file, use } = await import("./requests.js?another");
            const { currentRequest } = await import("./settings.js");
            let [busy, most] = [0, 0];
            const call = async () => {
                most = Math.max(most, ++busy);
                await new Promise((done) => setTimeout(done, 20));
                busy--;
                return { data: null };
            };
            use({ call });
            const { ask, ...rest } = currentRequest();
            const asked = (seed) => ({ ...rest, format: "gif", ask: { ...ask, settings: { ...ask.settings, seed } } });
            const begun = [clip, file, clip, file, clip].map((make, seed) => make(asked(seed)));
            const all = await Promise.all(begun);
            return [most, all.map((one) => one === null)];
        }"""
    )
    assert most == [1, [True, False, True, False, False]]


def test_a_closed_engine_answers(page: Page) -> None:
    said = page.evaluate(
        """async () => {
            const { Engine } = await import("./requests.js");
            const engine = new Engine();
            const open = engine.call("check", { blob: new Blob() });
            engine.close();
            return open.then(() => "done", (error) => error.message);
        }"""
    )
    assert "try again" in said


def fetched(page: Page, kind: str, folder: Path) -> Path:
    before = turn(page)
    page.select_option("#format", kind)
    newer(page, before)
    with page.expect_download() as waiting:
        page.click("#download")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_downloads_open(page: Page, tmp_path: Path) -> None:
    """Transparent ones hold every pixel of the clip on the stage."""
    for kind in ("png-clear", "webp-clear"):
        path = fetched(page, kind, tmp_path)
        made, wanted = frames(path), shown(page)
        assert made.shape == wanted.shape and made[..., 3].min() == 0 and path.name == f"cat-clip.{kind[:-6]}"
        assert decibels(made, wanted) > (60 if kind == "png-clear" else 40)
        with Image.open(path) as clip:
            clip.seek(1)
            clip.load()
            assert clip.info["duration"] == pytest.approx(1000 / 24, abs=1)
    gif = frames(fetched(page, "gif", tmp_path))
    assert len(gif) == 72 and decibels(gif, shown(page)) > 30
    if page.locator("#format option[value=webm]").count():
        clip = read_clip(fetched(page, "webm", tmp_path))
        assert len(clip) > 1 and clip.shape[1:] == (128, 128, 3)  # a busy machine records fewer


def test_bad_files_get_one_sentence(page: Page) -> None:
    before = pixels(page).shape
    drop(page, b"no picture at all", "notes.txt", "text/plain")
    page.wait_for_selector("#notice:visible")
    assert "not a picture that the browser reads; convert it" in page.inner_text("#notice")
    small = io.BytesIO()
    Image.new("RGB", (4, 40)).save(small, "PNG")
    drop(page, small.getvalue(), "small.png")
    until(page, "() => document.querySelector('#notice').textContent.includes('at least 8 pixels')")
    nothing = io.BytesIO()
    Image.new("RGBA", (40, 40)).save(nothing, "PNG")
    drop(page, nothing.getvalue(), "nothing.png")
    until(page, "() => document.querySelector('#notice').textContent.includes('transparent everywhere: there is noth')")
    assert pixels(page).shape == before and page.is_visible("#clip")


def test_a_seed_is_the_commands(page: Page) -> None:
    """The largest that is exact here, and one that the command takes."""
    before = turn(page)
    page.fill("#seed", "99999999999999999999")
    newer(page, before)
    settled(page)
    assert page.input_value("#seed") == "9007199254740991" and "--seed 9007199254740991" in page.inner_text("#command")


def test_a_clip_that_is_too_large_is_refused(page: Page) -> None:
    before = pixels(page).shape
    slide(page, "fps", 2)
    slide(page, "frames", 48)
    page.check("input[name=enlarge][value='4']", force=True)
    until(page, "() => document.querySelector('#notice').textContent.includes('too much for this page; choose')")
    assert pixels(page).shape == before
    slide(page, "fps", 8)
    slide(page, "frames", 24)


def test_live_mode_answers_sliders(page: Page) -> None:
    page.click("#tab-live")
    page.wait_for_selector("#live-clip[data-turn]")
    still = turn(page, "#live-clip")
    for motion in (60, 240):
        slide(page, "live-motion", motion)
        page.wait_for_timeout(100)
    newer(page, still, "#live-clip")
    assert re.search(r"made in \d", page.inner_text("#live-timing")) and page.evaluate(SPILLS) == []
    shot(page, "browser-live")


def test_keys_and_a_phones_width(page: Page) -> None:
    for width in (320, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for view in ("animate", "live"):
            page.click(f"#tab-{view}")
            page.wait_for_timeout(100)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), (view, width)
            assert page.evaluate(SPILLS) == [], (view, width)
            shot(page, f"browser-phone-{view}-{width}")
    page.click("#tab-animate")
    before = turn(page)
    page.focus("#camera")
    page.keyboard.press("Tab")
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    newer(page, before)
    assert "alarm-clock.png" in page.inner_text("#command")


def test_dark_and_light(page: Page) -> None:
    def lightness() -> int:
        found = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return sum(int(v) for v in re.findall(r"\d+", found)[:3])

    shot(page, "browser-light")
    page.emulate_media(color_scheme="dark")
    assert lightness() < 150
    shot(page, "browser-dark")
    page.emulate_media(color_scheme="light")
    assert lightness() > 600


def test_what_computes_is_said(page: Page) -> None:
    """Isolated by the service worker, so with threads; no graphics processor, so no WebGPU."""
    assert page.evaluate("crossOriginIsolated") is True
    assert re.search(r"WebAssembly, (one thread|\d+ threads)\.", page.inner_text("#machine"))


def test_memory_of_many_clips_is_flat(page: Page) -> None:
    """Everything that page and workers hold; short clips, since their number counts (50: bench_browser.py)."""

    def many(first: int, count: int) -> float:
        slide(page, "frames", 4)
        for seed in range(first, first + count):
            before = turn(page)
            page.fill("#seed", str(seed))
            newer(page, before)
        return float(page.evaluate("async () => (await performance.measureUserAgentSpecificMemory()).bytes"))

    few = many(1000, 5)
    assert many(2000, 10) / few <= FLAT
    slide(page, "frames", 24)


def test_it_works_offline_after_the_first_visit(browser: Any, site: Path) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    with served(site) as url:
        page.goto(url)
        page.wait_for_selector("body[data-ready=yes]")
    page.reload()
    page.wait_for_selector("#clip[data-turn]")
    assert len({still.tobytes() for still in moments(page)}) > 1
    context.close()


KEPT = """async () => {
    const found = [];
    for (const name of await caches.keys()) {
        for (const { url } of await (await caches.open(name)).keys()) found.push(url);
    }
    return found;
}"""
"""Addresses of everything that the service worker keeps."""


def sentence(browser: Any, url: str, script: str = "", absent: str = "") -> str:
    """What the page says instead of a clip; `script` runs before it. The file `absent` is not kept."""
    context = browser.new_context()
    context.add_init_script(script)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#notice:visible", timeout=PATIENCE * 1000)
    said, veil = page.inner_text("#notice"), page.inner_text("#veil-text")
    assert not absent or not [kept for kept in page.evaluate(KEPT) if kept.endswith(absent)]
    context.close()
    assert veil == "The model cannot be opened." and said.count(".") <= 3 and "\n" not in said
    return str(said)


def test_a_browser_without_simd_is_told(browser: Any, url: str) -> None:
    assert "no WebAssembly SIMD" in sentence(browser, url, "WebAssembly.validate = () => false;")


def test_too_little_memory_is_told(browser: Any, url: str) -> None:
    """A worker that cannot get memory says so as browsers do."""
    script = """
        const Real = Worker;
        const code = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
        const poor = code(`WebAssembly.Memory = function () { throw new RangeError("could not allocate memory"); };`);
        globalThis.Worker = function (address, options) {
            return new Real(code(`import "${poor}"; import "${address}";`), options);
        };"""
    assert "not enough memory for the model here" in sentence(browser, url, script)


def test_a_download_that_is_cut_short_is_told_and_not_kept(browser: Any, site: Path) -> None:
    with served(site, Cutting) as url:
        assert "download of model/unet.onnx was cut short" in sentence(browser, url, absent="unet.onnx")
