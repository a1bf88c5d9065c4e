"""Debian's Chromium for tests of pages, and what a visitor does in them."""

import base64
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
PATIENCE = 300.0
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
Page = Any


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A browser."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        yield started
        started.close()


def shot(page: Page, name: str) -> None:
    """Keep a picture for a person to look at: in $SFV_SCREENSHOTS, else out/screenshots."""
    folder = Path(os.environ.get("SFV_SCREENSHOTS") or "out/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def until(page: Page, said: str, *given: Any) -> Any:
    """What a JavaScript expression gives once that is true (the page's policy forbids wait_for_function's eval)."""
    end = time.monotonic() + PATIENCE
    while not (found := page.evaluate(said, *given)):
        assert time.monotonic() < end, f"never true: {said}"
        page.wait_for_timeout(50)
    return found


def turn(page: Page, canvas: str = "#clip") -> int:
    return int(page.get_attribute(canvas, "data-turn") or 0)


def newer(page: Page, than: int, canvas: str = "#clip") -> int:
    """Wait for a later clip than a given one, and for quiet."""
    until(page, "([c, t]) => Number(document.querySelector(c).dataset.turn ?? 0) > t", [canvas, than])
    until(page, "() => document.querySelector('#busy').hidden")
    return turn(page, canvas)


def pixels(page: Page, canvas: str = "#clip") -> np.ndarray[Any, Any]:
    """What a canvas shows now, RGBA."""
    address = page.evaluate("c => document.querySelector(c).toDataURL('image/png')", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA"))


def moments(page: Page, canvas: str = "#clip", count: int = 6) -> list[np.ndarray[Any, Any]]:
    seen = []
    for _ in range(count):
        seen.append(pixels(page, canvas))
        page.wait_for_timeout(130)
    return seen


def drop(page: Page, data: bytes, name: str, kind: str = "image/png") -> None:
    """As if a file were let go over the page."""
    bag = page.evaluate_handle(
        """([data, name, type]) => {
            const bag = new DataTransfer();
            bag.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
            return bag;
        }""",
        [base64.b64encode(data).decode(), name, kind],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": bag})


def slide(page: Page, name: str, value: float) -> None:
    page.evaluate(
        """([id, value]) => {
            const slider = document.getElementById(id);
            slider.value = value;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, value],
    )


SPILLS = """() => [...document.querySelectorAll("main .panel *, main .stage *")].filter((one) => {
    const [box, card] = [one.getBoundingClientRect(), one.closest(".panel, .stage").getBoundingClientRect()];
    return box.width && (box.right > card.right + 1 || box.left < card.left - 1);
}).map((one) => one.outerHTML.slice(0, 80))"""
"""What sticks out of its card."""
