"""How soon the page moves and how often live mode remakes its clip, in real Chromium.

python runs/benches/bench_page.py OUT.json [--visits 3] [--seconds 20] [--pictures docs/media] [--beside CHECKOUT]

First clip: seconds from navigation until the preview is painted and until the whole clip is, a new server and browser
context each time (a server remembers clips), after the server said that it is warm, which is when `sfv demo` opens a
browser. Live: arrivals of painted clips while the motion slider sweeps by itself, after two seconds of warming up; the
picture is encoded once there. `--beside`: the same of another checkout of this repository, in turns. `--pictures`
writes demo.webp, race.webp and phone.webp for the documentation. Needs playwright and Debian's chromium; nothing else
may run.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
HERE = Path(__file__).resolve().parents[2]
MARKS = "name => performance.getEntriesByName(name).map((mark) => mark.startTime)"


def visit(browser: Browser, url: str) -> Any:
    """A fresh visit whose first clip is painted."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(url)
    page.wait_for_selector("#clip[data-turn]", timeout=120_000)
    return page


@contextmanager
def served(checkout: Path) -> Iterator[tuple[str, str]]:
    """A fresh server's address, and what it says when it is warm."""
    command = [sys.executable, "-m", "sfv", "demo", "--no-open", "--port", "0"]
    env = os.environ | {"PYTHONPATH": str(checkout / "src")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0], server.stdout.readline().strip()
        finally:
            server.terminate()


def first_clip(browser: Browser, checkout: Path) -> dict[str, float]:
    """Seconds from navigation until the picture moves (the preview, if there is one), and until the whole clip does."""
    with served(checkout) as (url, _):
        page = visit(browser, url)
        marks = {name: page.evaluate(MARKS, name) for name in ("preview", "clip")}
        page.context.close()
        return {"moves": min(at[0] for at in marks.values() if at) / 1000, "whole": marks["clip"][0] / 1000}


def live(browser: Browser, url: str, seconds: float) -> dict[str, Any]:
    """Clips a second of a motion sweep, and what the page says of where the time goes.

    The seed changes all the while, so that no clip is one that was made before and kept.
    """
    page = visit(browser, url)
    page.click("#tab-live")
    page.click("#sweep")
    page.wait_for_timeout(2000)
    page.evaluate("() => performance.clearMarks('live-clip')")
    for seed in range(round(5 * seconds)):
        page.evaluate(SEED, seed + 1)
        page.wait_for_timeout(200)
    at = page.evaluate(MARKS, "live-clip")
    gaps = sorted((b - a) / 1000 for a, b in zip(at, at[1:], strict=False))
    shares = dict(line.split("\t") for line in page.evaluate(LEGEND))
    page.context.close()
    return {
        "clips_per_second": (len(at) - 1) / ((at[-1] - at[0]) / 1000),
        "clips": len(at),
        "median_gap": statistics.median(gaps),
        "p95_gap": gaps[int(0.95 * (len(gaps) - 1))],
        "last_clip": shares,
    }


def pictures(browser: Browser, url: str, folder: Path) -> None:
    """The page as it looks: a clip, the end of a race, and a phone in the dark."""
    page = visit(browser, url)
    page.set_viewport_size({"width": 1180, "height": 940})
    page.fill("#seed", "4")
    page.wait_for_timeout(500)
    page.wait_for_selector("#busy", state="hidden", timeout=120_000)
    keep(page.screenshot(), folder / "demo.webp")
    page.click("#tab-race")
    page.click("#start")
    page.wait_for_selector("#verdict[data-ratio]", timeout=120_000)
    page.wait_for_timeout(500)
    keep(page.screenshot(), folder / "race.webp")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#tab-animate")
    page.wait_for_timeout(500)
    keep(page.screenshot(), folder / "phone.webp")
    page.context.close()


def keep(shot: bytes, path: Path) -> None:
    """A screenshot as webp."""
    Image.open(io.BytesIO(shot)).convert("RGB").save(path, "WEBP", quality=85, method=6)


SEED = """v => {
  const slider = document.getElementById("live-seed");
  slider.value = v;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""
LEGEND = """() => [...document.getElementById("legend").children]
    .map((line) => [...line.children].map((cell) => cell.innerText).join("\t"))"""


def main() -> None:
    """Serve, visit, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        checkouts = [HERE, *([options.beside] if options.beside else [])]
        seen: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
        for _ in range(options.visits):
            for checkout in checkouts:
                seen[checkout].append(first_clip(browser, checkout))
        sweeps = {}
        for checkout in checkouts:
            with served(checkout) as (url, ready):
                sweeps[checkout] = {"server": ready, "live": live(browser, url, options.seconds)}
                if options.pictures and checkout == HERE:
                    pictures(browser, url, options.pictures)
        browser.close()
    result = {
        "command": f"python runs/benches/bench_page.py --visits {options.visits} --seconds {options.seconds:g}"
        + " --beside CHECKOUT" * (options.beside is not None),
        "machine": {"threads": os.cpu_count(), "torch": torch.__version__, "load_before": load},
    }
    for checkout in checkouts:
        first = {
            what: {
                "median": statistics.median(s[what] for s in seen[checkout]),
                "all": [s[what] for s in seen[checkout]],
            }
            for what in ("moves", "whole")
        }
        result |= {"here" if checkout == HERE else "beside": {"first_clip_seconds": first, **sweeps[checkout]}}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
