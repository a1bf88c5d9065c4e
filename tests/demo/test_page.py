"""The page in a real browser: Debian's Chromium, driven against `sfv demo` with the embedded model."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from PIL import Image

EXAMPLES = Path(__file__).parent.parent.parent / "src" / "sfv" / "examples"
FRAMES = 72
"""Of a clip of the embedded model as it is played."""
pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`sfv demo` in a process of its own, loaded and warm."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "SFV_CACHE": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, "-m", "sfv", "demo", "--no-open", "--port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = server.stdout.readline().split()[0]
        assert server.stdout.readline().startswith("ready after")
        yield found
        server.terminate()
        assert server.wait(120) is not None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Page]:
    """A fresh visit, its first clip on screen; anything the page complains of in the console fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE * 1000)
    visit, complaints = context.new_page(), []
    visit.on("pageerror", lambda error: complaints.append(str(error)))
    visit.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    visit.goto(url)
    visit.wait_for_selector("#clip[data-turn]")
    yield visit
    context.close()
    assert [c for c in complaints if "status of 4" not in c] == []


def test_a_dropped_picture_plays(page: Page) -> None:
    shot(page, "animate")
    before = turn(page)
    drop(page, (EXAMPLES / "owl.png").read_bytes(), "my owl.png")
    newer(page, before)
    seen = moments(page)
    assert max(float(np.abs(a.astype(int) - seen[0]).mean()) for a in seen[1:]) > 0.2
    picture = np.asarray(Image.open(EXAMPLES / "owl.png").convert("RGBA").resize((128, 128)), int)
    assert np.abs(seen[0][..., :3].astype(int) - picture[..., :3])[picture[..., 3] > 250].mean() < 30  # the owl, no cup
    page.click("#play")
    assert len({still.tobytes() for still in moments(page, count=3)}) == 1
    assert "my owl.png" in page.inner_text("#command")
    assert page.locator("#thumbs button").count() == 2


MARKS = "name => performance.getEntriesByName(name).map((mark) => mark.startTime)"


def test_a_small_clip_plays_until_the_whole_one_is_there(page: Page) -> None:
    previews, clips = page.evaluate(MARKS, "preview"), page.evaluate(MARKS, "clip")
    assert len(previews) == len(clips) == 1 and previews[0] < clips[0]
    assert pixels(page).shape[1] == 512 and page.locator("#thumbs button").count() == 1
    before = turn(page)
    page.check("input[name=enlarge][value='2']")
    newer(page, before)
    assert pixels(page).shape[1] == 256
    assert len(page.evaluate(MARKS, "preview")) == 1  # as small as its preview would be


def test_bad_files_get_one_sentence(page: Page) -> None:
    before = pixels(page).shape
    drop(page, b"no picture at all", "notes.txt", "text/plain")
    page.wait_for_selector("#notice:visible")
    assert "convert it to PNG or JPEG" in page.inner_text("#notice")
    drop(page, b"\x89PNG\r\n\x1a\n" + bytes(100), "broken.png")
    until(page, "() => /decoded|picture/.test(document.querySelector('#notice').textContent)")
    page.evaluate(
        """() => {
            const bag = new DataTransfer();
            bag.items.add(new File([new Uint8Array(21 * 2 ** 20)], "huge.png", { type: "image/png" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: bag, bubbles: true }));
        }"""
    )
    until(page, "() => document.querySelector('#notice').textContent.includes('20 MB')")
    shot(page, "notice")
    assert pixels(page).shape == before and page.is_visible("#clip")


def test_the_race_runs_to_its_end(page: Page) -> None:
    page.click("#tab-race")
    page.click("#start")
    page.wait_for_selector(".lane:nth-child(2)[data-state=step]")
    page.wait_for_selector(".lane:nth-child(1)[data-state=done]")
    shot(page, "race-running")
    page.wait_for_selector("#verdict[data-ratio]")
    shot(page, "race")
    quick, slow = (float(text.split()[0]) for text in page.locator(".clock").all_inner_texts())
    ratio = float(page.get_attribute("#verdict", "data-ratio") or 0)
    assert 0 < quick < slow and ratio == pytest.approx(slow / quick, rel=0.1) and ratio > 2
    assert "quicker than sticker-teacher" in page.inner_text("#verdict")
    first, second = (moments(page, f".lane:nth-child({i}) canvas", 3) for i in (1, 2))
    assert len({f.tobytes() for f in first}) > 1 and first[0].tobytes() != second[0].tobytes()
    assert first[0].shape[:2] == second[0].shape[:2] == (128, 128), "a race is at the network's own size"


def test_previews_of_a_large_race_are_small(page: Page) -> None:
    shape = page.evaluate(
        """async () => {
            const { race } = await import("./page/requests.js");
            const { currentRequest } = await import("./page/settings.js");
            const stop = new AbortController();
            const { ask, ...rest } = currentRequest();
            const request = { ...rest, ask: { ...ask, settings: { ...ask.settings, size: "512" } } };
            for await (const { event, data, width, height } of race(request, stop.signal)) {
                if (event !== "step" || !data) continue;
                stop.abort();
                return [width, height];
            }
        }"""
    )
    assert shape == [128, 128]


def test_a_message_of_many_parts_is_joined_once(page: Page) -> None:
    """Lengths that are cut, two messages in one part, and how many bytes are copied for a large one."""
    found = page.evaluate(
        """async () => {
            const { messages } = await import("./page/wire.js");
            const message = (head, size) => {
                const text = new TextEncoder().encode(JSON.stringify(head));
                const bytes = new Uint8Array(8 + text.length + size).fill(head.lane);
                new DataView(bytes.buffer).setUint32(0, text.length, true);
                new DataView(bytes.buffer).setUint32(4, size, true);
                bytes.set(text, 8);
                return bytes;
            };
            const sent = [0, 4, 1e5, 9].map((size, i) => message({ lane: i + 1 }, size));
            const all = new Uint8Array(await new Blob(sent).arrayBuffer());
            const read = async (size) => {
                let [at, copied] = [0, 0];
                const read = async () => ({ done: at >= all.length, value: all.subarray(at, (at += size)) });
                Uint8Array.prototype.set = function (from, to) {
                    copied += from.length;
                    Object.getPrototypeOf(Uint8Array.prototype).set.call(this, from, to);
                };
                const given = [];
                for await (const { lane, data } of messages({ body: { getReader: () => ({ read }) } })) {
                    given.push([lane, data?.length ?? 0, data?.every((v) => v === lane) ?? true]);
                }
                delete Uint8Array.prototype.set;
                return [given, copied / all.length];
            };
            return [await read(1), await read(1000), await read(all.length)];
        }"""
    )
    for given, copied in found:
        assert given == [[1, 0, True], [2, 4, True], [3, 100_000, True], [4, 9, True]]
        assert copied < 3


def held(page: Page, address: str, count: int = 1) -> list[Any]:
    """The next requests, which wait until `let_go`; later ones are sent at once."""
    waiting = list[Any]()
    page.route(address, lambda route: waiting.append(route) if len(waiting) < count else route.continue_())
    return waiting


def is_waiting(page: Page, waiting: list[Any], count: int = 1) -> None:
    end = time.monotonic() + PATIENCE
    while len(waiting) < count:
        assert time.monotonic() < end, "nothing is asked for"
        page.wait_for_timeout(50)


def let_go(page: Page, waiting: list[Any]) -> None:
    """Send what waits; wait for the answers, and until nothing more is made."""
    for route in waiting:
        with page.expect_response(lambda response, sent=route.request: response.request == sent):
            route.continue_()
    page.wait_for_timeout(400)
    until(page, "() => document.querySelector('#busy').hidden")


def test_a_clip_of_the_gallery_outlasts_a_request(page: Page) -> None:
    """What was asked for before it was chosen is neither shown nor kept."""
    first, usual = turn(page), page.input_value("#motion")
    slide(page, "motion", 200)
    newer(page, first)
    waiting = held(page, "**/api/clip")
    slide(page, "motion", 30)
    is_waiting(page, waiting)
    page.click("#thumbs button:nth-child(2)")
    shown = pixels(page).shape
    let_go(page, waiting)
    assert turn(page) == first and page.input_value("#motion") == usual
    kept = "#thumbs button:nth-child(1)"
    assert "motion 200" in page.get_attribute(kept, "aria-label") and pixels(page).shape == shown
    slide(page, "motion", 30)
    newer(page, first)
    assert "motion 30" in page.get_attribute(kept, "aria-label")


def test_the_picture_that_was_chosen_last_stays(page: Page) -> None:
    """A slower upload of an earlier one is dropped, and so is a mask of another picture."""
    waiting = held(page, "**/api/picture")
    drop(page, (EXAMPLES / "owl.png").read_bytes(), "slow owl.png")
    is_waiting(page, waiting)
    before = turn(page)
    page.click("[data-name='frog.png']")
    newer(page, before)
    let_go(page, waiting)
    assert "frog.png" in page.inner_text("#command") and page.locator("#thumbs button").count() == 2
    page.click("#mask")
    page.click("#mask-board canvas")
    waiting = held(page, "**/api/picture")
    page.click("#mask-done")
    is_waiting(page, waiting)
    before = turn(page)
    page.click("[data-name='cake.png']")
    newer(page, before)
    let_go(page, waiting)
    assert not page.is_visible("#unmask") and "--keep-still" not in page.inner_text("#command")


def test_a_drawing_of_the_picture_before_is_dropped(page: Page) -> None:
    page.click("#tab-live")
    page.wait_for_selector("#live-clip[data-turn]")
    waiting = held(page, "**/api/picture")
    page.click("#pad canvas")
    is_waiting(page, waiting)
    page.click("[data-name='frog.png']")
    until(page, "async () => (await import('./page/state.js')).state.picture.name === 'frog.png'")
    let_go(page, waiting)
    assert page.evaluate("async () => (await import('./page/state.js')).state.drawingId") is None


def test_the_first_example_replaces_no_picture(browser: Any, url: str) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    waiting = held(page, "**/examples/cup.png", count=2)  # in its button, and chosen
    page.goto(url)
    is_waiting(page, waiting, count=2)
    drop(page, (EXAMPLES / "owl.png").read_bytes(), "my owl.png")
    page.wait_for_selector("#clip[data-turn]")
    let_go(page, waiting)
    assert "my owl.png" in page.inner_text("#command") and page.locator("#thumbs button").count() == 1
    context.close()


def fetched(page: Page, kind: str, folder: Path) -> Path:
    before = turn(page)
    page.select_option("#format", kind)
    newer(page, before)
    with page.expect_download() as waiting:
        page.click("#download")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_downloads_open_and_the_shown_lines_make_them(page: Page, tmp_path: Path) -> None:
    page.check("input[name=loop][value=forward]", force=True)
    with Image.open(fetched(page, "gif", tmp_path)) as gif:
        assert gif.format == "GIF" and getattr(gif, "n_frames", 1) == FRAMES
    brushed(page)
    slide(page, "motion", 200)
    page.fill("#seed", "7")
    page.check("input[name=loop][value=boomerang]", force=True)
    with Image.open(fetched(page, "png-clear", tmp_path)) as apng:
        assert (
            apng.format == "PNG"
            and getattr(apng, "n_frames", 1) == 2 * FRAMES - 2
            and apng.convert("RGBA").getextrema()[3][0] < 255
        )
    path = fetched(page, "webp-clear", tmp_path)
    made = frames(path)
    assert (
        len(made) == 2 * FRAMES - 2 and made.shape[-1] == 4 and made[..., 3].min() < 255 and made[..., 3].max() == 255
    )
    for name, link in (("cup.png", "#save-picture"), ("mask.png", "#save-mask")):
        with page.expect_download() as waiting:
            page.click(link)
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
    assert "--keep-still mask.png" in page.inner_text("#command") and path.name == "cup-clip.webp"
    for by in again(page.inner_text("#command"), page.inner_text("#python"), tmp_path):
        assert np.array_equal(frames(by), made)


def brushed(page: Page) -> None:
    """A stroke through the middle of the picture is kept still."""
    before = turn(page)
    page.click("#mask")
    box = page.locator("#mask-board canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    shot(page, "keep-still")
    page.click("#mask-done")
    newer(page, before)
    rows = [still[62:66, 40:88] for still in moments(page)]
    assert all(np.array_equal(rows[0], row) for row in rows)


def test_what_is_brushed_moves_alone(page: Page) -> None:
    """The same brush the other way round; undo and clear take strokes back."""
    before = turn(page)
    page.click("#mask")
    page.check("input[name=brushed][value=moves]", force=True)
    box = page.locator("#mask-board canvas").bounding_box()
    drawn = """() => {
        const c = document.querySelector("#mask-board canvas");
        return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v > 0);
    }"""

    def stroke(row: float) -> None:
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * row)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * row, steps=5)
        page.mouse.up()

    stroke(0.2)
    assert page.evaluate(drawn)
    page.click("#mask-tools >> text=Undo")
    assert not page.evaluate(drawn)
    stroke(0.5)
    page.click("#mask-tools >> text=Clear")
    assert not page.evaluate(drawn)
    stroke(0.2)
    page.click("#mask-done")
    newer(page, before)
    seen = moments(page)
    side = len(seen[0])
    assert all(np.array_equal(seen[0][side // 2 :], still[side // 2 :]) for still in seen), (
        "what was not brushed is still"
    )
    assert any(not np.array_equal(seen[0][: side // 3], still[: side // 3]) for still in seen)


def test_an_arrow_drags_a_part(page: Page) -> None:
    """Drawn by the mouse, lengthened by a key, in the lines below the clip, and gone with its button."""
    before = turn(page)
    page.click("#arrow")
    box = page.locator("#arrow-canvas").bounding_box()
    fingers = page.evaluate("() => getComputedStyle(document.querySelector('#arrow-canvas')).touchAction")
    assert fingers == "none", "a finger draws and does not scroll"
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()
    page.focus("#arrow-canvas")
    page.keyboard.press("ArrowUp")
    shot(page, "arrow")
    page.click("#arrow-done")
    newer(page, before)
    arrow = re.search(r"--drag ([0-9.]+),([0-9.]+):([0-9.]+),([0-9.]+)", page.inner_text("#command"))
    assert arrow is not None and 'drag="' in page.inner_text("#python").replace("'", '"')
    assert [float(v) for v in arrow.groups()] == pytest.approx([0.5, 0.5, 0.7, 0.48], abs=0.01)
    before = turn(page)
    page.click("#no-arrow")
    newer(page, before)
    assert "--drag" not in page.inner_text("#command")


def test_a_finger_brushes_too(browser: Any, url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#clip[data-turn]")
    page.tap("#mask")
    page.tap("#mask-board canvas")
    before = turn(page)
    page.tap("#mask-done")
    newer(page, before)
    assert "--keep-still mask.png" in page.inner_text("#command")
    context.close()


def test_one_of_eight_seeds_is_kept(page: Page) -> None:
    page.click("#eight")
    page.wait_for_selector("#seed-thumbs button:nth-child(8)")
    shot(page, "seeds")
    assert page.locator("#seed-thumbs button").count() == 8
    read = "() => [1, 2, 8].map((i) => document.querySelectorAll('#seed-thumbs canvas')[i - 1].toDataURL())"
    at_once = []  # every clip begins with the picture, so one moment is not enough; all keep the same time
    for _ in range(20):
        at_once.append(page.evaluate(read))
        page.wait_for_timeout(130)
    assert any(len(set(now)) == 3 for now in at_once), "every seed goes its own way"
    third = moments(page, "#seed-thumbs button:nth-child(3) canvas")
    assert len({still.tobytes() for still in third}) > 1, "thumbnails play"
    before = turn(page)
    page.click("#seed-thumbs button:nth-child(3)")
    newer(page, before)
    assert page.input_value("#seed") == "3" and "--seed 3" in page.inner_text("#command")
    assert page.get_attribute("#seed-thumbs button:nth-child(3)", "aria-pressed") == "true"
    page.click("#eight")
    assert not page.is_visible("#seeds")


NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
PROXY = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off; client_max_body_size 25m; client_body_buffer_size 25m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location /tools/sfv/ {{ {location} }} }}
}}
"""


def location(url: str) -> str:
    """The lines of docs/demo.md, for this server's address."""
    text = (Path(__file__).parent.parent.parent / "docs" / "demo.md").read_text()
    found = re.search(r"location /tools/sfv/ {(.*?)}", text, re.S)
    assert found is not None
    return found[1].replace("http://127.0.0.1:7860", url.rstrip("/"))


@pytest.fixture
def behind(url: str, tmp_path: Path) -> Iterator[str]:
    """The page below a path of another server, through nginx."""
    if NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "conf").write_text(PROXY.format(folder=tmp_path, port=port, location=location(url)))
    with subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "conf")]) as proxy:
        try:
            end = time.monotonic() + 60
            while not reachable(port):
                assert proxy.poll() is None and time.monotonic() < end, (tmp_path / "error.log").read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/tools/sfv/"
        finally:
            proxy.terminate()


def reachable(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def test_the_page_works_below_a_path_of_a_proxy(browser: Any, behind: str, tmp_path: Path) -> None:
    """Nothing is asked for outside the path, and every part of the page answers."""
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE * 1000)
    page, asked, complaints = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(behind.rstrip("/"))
    page.wait_for_selector("#clip[data-turn]")
    before = turn(page)
    page.click("#examples button:nth-child(4)")
    newer(page, before)
    with Image.open(fetched(page, "gif", tmp_path)) as gif:
        assert gif.format == "GIF"
    page.click("#tab-race")
    page.click("#start")
    page.wait_for_selector(".lane:nth-child(1)[data-state=done]")
    page.click(".brand")
    page.wait_for_selector("#clip[data-turn]")
    assert page.url == behind and not complaints
    outside = [u for u in asked if not u.startswith((behind, "blob:", "data:")) and u != behind.rstrip("/")]
    assert outside == []
    context.close()


def again(command: str, lines: str, folder: Path) -> list[Path]:
    """What the shown command and the shown Python lines write, each into a folder of its own; one process runs both."""
    script = (
        "import os, sys\nfrom sfv.cli.main import main\nfrom sfv.system.memory import keep_memory\nos.chdir('a')\n"
        f"assert main({shlex.split(command)[1:]!r}) == 0\nos.chdir('../b')\n{lines}\n"
    )
    for name in ("a", "b"):
        (folder / name).mkdir()
        for file in ("cup.png", "mask.png"):
            shutil.copy(folder / file, folder / name)
    env = os.environ | {"OMP_NUM_THREADS": "1", "SFV_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, check=True, capture_output=True)
    return [folder / name / "cup-clip.webp" for name in ("a", "b")]


def frames(path: Path) -> np.ndarray[Any, Any]:
    found = []
    with Image.open(path) as clip:
        for i in range(getattr(clip, "n_frames", 1)):
            clip.seek(i)
            found.append(np.asarray(clip.convert("RGBA")))
    return np.stack(found)


def test_a_messengers_file_is_one_it_takes(page: Page, tmp_path: Path) -> None:
    from sfv.platforms.check import check_sticker

    page.select_option("#format", "for-slack")
    until(page, "document.querySelector('#command').innerText.includes('--for slack')")
    with page.expect_download() as waiting:
        page.click("#download")
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name.endswith("-slack.gif") and all(rule.ok for rule in check_sticker(path, "slack"))


def redness(page: Page) -> float:
    """Share of the live clip's pixels that are red where a stroke was drawn."""
    shown = pixels(page, "#live-clip")[8:40, 24:80].reshape(-1, 4).astype(int)
    return float(((shown[:, 0] - shown[:, 1]) > 60).mean())


def test_live_mode_answers_sliders_and_strokes(page: Page) -> None:
    page.click("#tab-live")
    page.wait_for_selector("#live-clip[data-turn]")
    still = turn(page, "#live-clip")
    seen = []
    for motion in (0, 60, 120, 180, 240):
        slide(page, "live-motion", motion)
        page.wait_for_timeout(150)
    last = newer(page, still + 3, "#live-clip")
    seen.append(pixels(page, "#live-clip"))
    assert float(page.inner_text("#rate")) > 0 and re.search(r"decoder\s+\d+ ms", page.inner_text("#legend"))
    box = page.locator("#pad canvas").bounding_box()
    page.click("[aria-label=Red]")
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 24, steps=4)
    page.mouse.up()
    newer(page, last, "#live-clip")
    end = time.monotonic() + PATIENCE
    while redness(page) < 0.1:  # the clip of half a stroke may come first
        assert time.monotonic() < end, "the stroke is in no clip"
        page.wait_for_timeout(100)
    shot(page, "live")
    assert page.evaluate(SPILLS) == []
    before = turn(page)
    page.click("#keep")
    newer(page, before)
    assert page.input_value("#motion") == "240" and "drawing.png" in page.inner_text("#command")


def test_the_camera_takes_a_picture(page: Page) -> None:
    before = turn(page)
    page.click("#camera")
    until(page, "() => document.querySelector('#viewfinder').videoWidth > 0")
    page.click("#snap")
    newer(page, before)
    assert "camera.png" in page.inner_text("#command") and page.input_value("#format") == "mp4"


def test_a_phone_needs_no_sideways_scroll(page: Page) -> None:
    for width in (320, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for view in ("animate", "live", "race"):
            page.click(f"#tab-{view}")
            page.wait_for_timeout(100)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), (view, width)
            assert page.evaluate(SPILLS) == [], (view, width)
            shot(page, f"phone-{view}-{width}")
    page.click("#tab-animate")
    page.evaluate("() => scrollTo(0, 0)")
    keep = page.locator("#download").bounding_box()
    assert keep["y"] + keep["height"] <= 844 and keep["x"] >= 0, "a clip is kept without scrolling"


def test_keys_alone_start_a_clip(page: Page) -> None:
    before = turn(page)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.dataset.name === 'cake.png'"):
            break
    else:
        pytest.fail("Tab does not lead to the third example")
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    newer(page, before)
    assert "cake.png" in page.inner_text("#command")
    page.focus("#tab-animate")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#view-live") and page.evaluate("() => document.activeElement.id") == "tab-live"


def test_dark_by_system_and_by_hand(page: Page) -> None:
    def lightness() -> int:
        found = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return sum(int(v) for v in re.findall(r"\d+", found)[:3])

    page.emulate_media(color_scheme="dark")
    assert lightness() < 150
    shot(page, "dark")
    page.click("#theme")
    assert lightness() > 600
    page.reload()
    assert lightness() > 600


def playing(page: Page, canvas: str) -> bool:
    """Whether a canvas changes within some seconds."""
    first = page.evaluate("c => document.querySelector(c).toDataURL()", canvas)
    for _ in range(40):
        page.wait_for_timeout(100)
        if page.evaluate("c => document.querySelector(c).toDataURL()", canvas) != first:
            return True
    return False


def test_reduced_motion_waits_for_play(browser: Any, url: str) -> None:
    """All clips do: the stage's, the gallery's, and those of eight seeds that come later."""
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#clip[data-turn]")
    assert len({still.tobytes() for still in moments(page, count=3)}) == 1
    page.click("#play")
    page.click("#eight")
    page.wait_for_selector("#seed-thumbs button:nth-child(2)")
    for canvas in ("#clip", "#thumbs canvas", "#seed-thumbs canvas"):
        assert playing(page, canvas), canvas
    context.close()


def test_pause_pauses_every_clip(page: Page) -> None:
    page.click("#eight")
    page.wait_for_selector("#seed-thumbs button:nth-child(1)")
    assert playing(page, "#thumbs canvas")
    page.click("#play")
    canvases = ("#clip", "#thumbs canvas", "#seed-thumbs canvas")
    assert [canvas for canvas in canvases if len({m.tobytes() for m in moments(page, canvas, 5)}) > 1] == []
    page.wait_for_selector("#seed-thumbs button:nth-child(2)")
    page.click("#tab-live")
    page.wait_for_selector("#live-clip[data-turn]")
    assert len({m.tobytes() for m in moments(page, "#live-clip", 5)}) == 1
    page.click("#view-live .play")
    assert playing(page, "#live-clip") and page.get_attribute("#play", "aria-label") == "Pause"


@pytest.mark.parametrize(
    ("typed", "taken"),
    [("99999999999999999999", "9007199254740991"), ("-5", "0"), ("2.7", "2"), ("9007199254740993", "9007199254740991")],
)
def test_the_seed_is_the_one_that_the_field_shows(page: Page, typed: str, taken: str) -> None:
    page.fill("#seed", typed)
    until(page, "(taken) => document.querySelector('#seed').value === taken", taken)
    asked = page.evaluate("async () => (await import('./page/settings.js')).currentRequest().ask.settings.seed")
    assert asked == int(taken) < 2**53
    page.fill("#seed", "")
    page.dispatch_event("#seed", "change")
    assert page.input_value("#seed") == "0"


def test_a_picture_of_a_long_name_has_a_short_one(page: Page) -> None:
    before = turn(page)
    drop(page, (EXAMPLES / "owl.png").read_bytes(), "\U0001f431" * 400 + ".png")
    newer(page, before)
    name = "\U0001f431" * 76 + ".png"
    assert shlex.split(page.inner_text("#command"))[2] == name and f'"{name}"' in page.inner_text("#python")
    assert page.get_attribute("#save-picture", "download") == name and not page.is_visible("#notice")


def test_live_requests_do_not_drop_the_stages_clip(page: Page) -> None:
    """What was asked for before the view was changed is shown when the visitor comes back."""
    before, waiting = turn(page), held(page, "**/api/clip")
    page.fill("#seed", "77")
    is_waiting(page, waiting)
    page.click("#tab-live")
    page.wait_for_selector("#live-clip[data-turn]")
    let_go(page, waiting)
    assert turn(page) > before and "--seed 77" in page.inner_text("#command")
