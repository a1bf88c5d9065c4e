"""The page that needs no server: its size, its seconds, its frames against the command line's, its memory, in Chromium.

python runs/benches/bench_browser.py FOLDER OUT.json [--parts sizes seconds frames memory] [--clips 5]
    [--pictures docs/media]

FOLDER is what `sfv export sticker FOLDER --to web` wrote. Size: every file, gzipped one by one as hosts send them.
Seconds: the first clip after the model is open, and the median of later ones (24 frames made, 72 played, 128 x 128),
with one thread of WebAssembly and with all; beside them the processor's seconds of the page's process, since those are
longer on a busy machine by less than the clock's. Frames: all 72 of three bundled pictures over white, decibels against
`sfv generate --profile exact` with the same seed. Memory: what the browser says that page and workers hold, after 5
clips and after 50. Needs playwright and Debian's chromium; nothing else should run: the load is written down.
"""

import argparse
import base64
import gzip
import json
import os
import shutil
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import sfv

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-blink-features=ForceEagerMeasureMemory"
).split()
EXAMPLES = Path(sfv.__file__).parent / "examples"
PICTURES = {"cat.png": 3, "alarm-clock.png": 1, "owl.png": 2}
"""Pictures whose frames are compared, with their seeds."""
PARTS = ["sizes", "seconds", "frames", "memory"]
PATIENCE = 600_000
CLIP = """async () => {
  const { clip } = (await import("./state.js")).state;
  const reader = new FileReader();
  const read = new Promise((done) => (reader.onload = done));
  reader.readAsDataURL(new Blob([clip.data]));
  await read;
  return { shape: [clip.frames, clip.height, clip.width, 4], data: reader.result.split(",")[1] };
}"""
SECONDS = 'async () => (await import("./state.js")).state.clip.seconds'
MEMORY = "async () => (await performance.measureUserAgentSpecificMemory()).bytes"


class Host(SimpleHTTPRequestHandler):
    """`python -m http.server`, in silence."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def sizes(folder: Path) -> dict[str, Any]:
    """MB of every part of the folder as it lies and gzipped."""
    parts: dict[str, list[float]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            part = path.relative_to(folder).parts[0] if path.parent != folder else "page"
            raw = path.read_bytes()
            known = parts.setdefault(part, [0.0, 0.0])
            known[0] += len(raw) / 1e6
            known[1] += len(gzip.compress(raw, 6)) / 1e6
    every = {part: {"MB": round(a, 2), "gzipped_MB": round(b, 2)} for part, (a, b) in sorted(parts.items())}
    return every | {"gzipped_MB": round(sum(b for _, b in parts.values()), 2)}


def processor_seconds() -> float:
    """Of all of the browser's page processes."""
    found = [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in p.cmdline()]
    return sum(p.cpu_times().user + p.cpu_times().system for p in found)


def visit(browser: Browser, url: str, asked: list[str]) -> Any:
    """A fresh visit whose first clip is painted."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_selector("body[data-ready=yes]")
    return page


def turn(page: Any) -> int:
    """Number of the clip on the stage."""
    return int(page.get_attribute("#clip", "data-turn"))


def another(page: Any, act: Any) -> None:
    """Do something that makes a clip, and wait for it."""
    before = turn(page)
    act()
    while turn(page) <= before or page.is_visible("#busy"):
        page.wait_for_timeout(20)


def settled(page: Any) -> None:
    """Wait until nothing more is made: a change begins its clip within 120 ms."""
    page.wait_for_timeout(400)
    while page.is_visible("#busy"):
        page.wait_for_timeout(20)


def seconds(browser: Browser, url: str, clips: int) -> dict[str, Any]:
    """Of the first clip and of later ones, by stage."""
    asked: list[str] = []
    page = visit(browser, url, asked)
    first, later, spent = page.evaluate(SECONDS), list[float](), list[float]()
    page.click("#play")
    for seed in range(1, clips + 1):
        before = processor_seconds()
        another(page, lambda seed=seed: page.fill("#seed", str(seed)))
        later.append(sum(page.evaluate(SECONDS).values()))
        spent.append(processor_seconds() - before)
    said = page.inner_text("#machine")
    page.context.close()
    return {
        "first": round(sum(first.values()), 2),
        "first_by_stage": {k: round(v, 2) for k, v in first.items()},
        "later_median": round(statistics.median(later), 2),
        "later_processor_seconds": round(statistics.median(spent), 2),
        "page_says": said,
        "load": os.getloadavg()[0],
    }


def over_white(rgba: np.ndarray) -> np.ndarray:
    """(..., 4) uint8 -> (..., 3) float."""
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def likeness(page: Any) -> dict[str, float]:
    """Decibels of each picture's frames."""
    model = sfv.load("sticker", dtype=torch.float32)
    found = {}
    for name, seed in PICTURES.items():
        page.fill("#seed", str(seed))
        another(page, lambda name=name: page.click(f"[data-name='{name}']"))
        settled(page)
        made = page.evaluate(CLIP)
        frames = np.frombuffer(base64.b64decode(made["data"]), np.uint8).reshape(made["shape"])
        picture = sfv.read_sticker(EXAMPLES / name)
        wanted = sfv.generate(model, picture, transparent=True, seed=seed, size="128").stickers().numpy()
        error = ((over_white(frames) - over_white(wanted)) ** 2).mean()
        found[name] = round(float(10 * np.log10(255**2 / error)), 1)
    return found


def memory(page: Any) -> dict[str, float]:
    """MB after 5 clips and after 50, each of 24 frames."""
    found = {}
    for count in range(1, 51):
        another(page, lambda count=count: page.fill("#seed", str(5000 + count)))
        if count in (5, 50):
            found[f"after_{count}_MB"] = round(page.evaluate(MEMORY) / 1e6, 1)
    return found | {"ratio": round(found["after_50_MB"] / found["after_5_MB"], 3)}


def pictures(page: Any, folder: Path) -> None:
    """The page for the documentation."""
    another(page, lambda: page.click("[data-name='frog.png']"))
    page.set_viewport_size({"width": 1180, "height": 940})
    page.screenshot(path=folder / "browser.png")
    with Image.open(folder / "browser.png") as shot:
        shot.convert("RGB").save(folder / "browser.webp", "WEBP", quality=85, method=6)
    (folder / "browser.png").unlink()


def timed(browser: Browser, url: str, clips: int) -> dict[str, Any]:
    """Seconds with one thread and with all."""
    return {"one_thread": seconds(browser, url + "?threads=1", clips), "threads": seconds(browser, url, clips)}


def watched(browser: Browser, url: str, parts: list[str], shots: Path | None) -> dict[str, Any]:
    """Frames and memory of one visit, and whom it asked."""
    asked, found = list[str](), dict[str, Any]()
    page = visit(browser, url, asked)
    if "frames" in parts:
        found["decibels"] = likeness(page)
    if "memory" in parts:
        found["memory"] = memory(page)
    others = [a for a in asked if not a.startswith((url, f"blob:{url}", "data:"))]
    found |= {"requests": len(asked), "requests_to_other_hosts": len(others)}
    if shots:
        pictures(page, shots)
    return found


def main() -> None:
    """Measure the wanted parts, and write them into the JSON beside those that it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    with served(given.folder) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        found |= {"chromium": browser.version, "processors": os.cpu_count()}
        if "sizes" in given.parts:
            found["sizes"] = sizes(given.folder)
        if "seconds" in given.parts:
            found |= timed(browser, url, given.clips)
        if {"frames", "memory"} & set(given.parts):
            found |= watched(browser, url, given.parts, given.pictures)
        browser.close()
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
