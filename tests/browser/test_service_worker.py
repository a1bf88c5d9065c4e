"""What the page leaves in a browser: its own files for use without a network, and nothing where it is not any more."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from chromium import NEEDS_CHROMIUM, PATIENCE, Page, chromium, until

from sfv.browser import export

pytestmark = NEEDS_CHROMIUM


class Host(SimpleHTTPRequestHandler):
    """`python -m http.server` in silence; of the files named in `passing` nothing may be kept."""

    passing: tuple[str, ...] = ()

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def end_headers(self) -> None:
        """As the standard library's, and with what may not be kept."""
        if self.path.endswith(self.passing):
            self.send_header("cache-control", "no-store")
        super().end_headers()


class Passing(Host):
    passing = ("gif.js", "requests.js")


class Site:
    """One address for a folder that may change, and a host that may stop."""

    def __init__(self, folder: Path, handler: type[Host] = Host) -> None:
        self.folder, self.handler, self.port = folder, handler, 0
        self.server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        serve = partial(self.handler, directory=str(self.folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), serve)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever).start()

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
def host() -> Iterator[Callable[..., Site]]:
    begun = list[Site]()

    def begin(*given: Any) -> Site:
        begun.append(Site(*given))
        return begun[-1]

    yield begin
    for site in begun:
        site.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


READY = "async () => Boolean(navigator.serviceWorker.controller) && (await caches.keys()).length === 1"
LEFT = (
    "async () => (await navigator.serviceWorker.getRegistrations()).length === 0 && (await caches.keys()).length === 0"
)
CONTROLLED = "Boolean(navigator.serviceWorker.controller)"
KEPT = """async () => {
    const [name] = await caches.keys();
    return (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname);
}"""


def visited(page: Page, url: str) -> None:
    """The page at an address, once its worker answers for it."""
    page.goto(url)
    until_loaded(page, READY)
    page.goto(url)


def until_loaded(page: Page, said: str) -> None:
    """As `until`, over the page's own reload."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if page.evaluate(said):
                return
        except Exception as error:
            if "navigation" not in str(error):
                raise
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {said}")


def another(folder: Path) -> Path:
    """Somebody else's site, with names of ours."""
    folder.mkdir()
    (folder / "index.html").write_text('<title>another</title><p></p><script src="main.js"></script>')
    (folder / "main.js").write_text("document.querySelector('p').textContent = 'my own';")
    return folder


def test_another_folder_at_the_same_address_is_shown(
    page: Page, host: Callable[..., Site], exported: Callable[[Path], Path], tmp_path: Path
) -> None:
    """At once, whole, and with nothing of the page left in the browser."""
    site = host(exported(tmp_path / "page"))
    visited(page, site.url)
    site.stop()
    site.folder = another(tmp_path / "other")
    site.start()
    for address in (f"{site.url}?live=on", site.url):
        page.goto(address)
        assert (page.title(), page.inner_text("p")) == ("another", "my own")
        assert page.evaluate("crossOriginIsolated") is False
    until(page, LEFT)


@pytest.mark.parametrize("change", ["no worker", "somebody else's mark"])
def test_a_page_that_is_half_gone_leaves_too(
    page: Page, host: Callable[..., Site], exported: Callable[[Path], Path], tmp_path: Path, change: str
) -> None:
    site = host(exported(tmp_path / "page"))
    visited(page, site.url)
    if change == "no worker":
        (site.folder / "service_worker.js").unlink()
    else:
        (site.folder / "files.json").write_text('["mine"]')
    (site.folder / "index.html").write_text("<title>another</title>")
    page.goto(site.url)
    assert page.title() == "another"
    until(page, LEFT)


def test_other_files_below_the_address_come_from_the_host(
    page: Page, host: Callable[..., Site], exported: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Whatever they are called, with their queries, and as they are now."""
    site = host(exported(tmp_path / "page"))
    visited(page, site.url)
    (another(site.folder / "blog") / "data.json").write_text("1")
    read = "async () => (await fetch('blog/data.json', { cache: 'no-store' })).text()"
    assert page.evaluate(read) == "1"
    (site.folder / "blog" / "data.json").write_text("2")
    assert page.evaluate(read) == "2"
    assert page.evaluate("async () => (await fetch('gif.js?v=2')).headers.get('cross-origin-opener-policy')") is None
    assert (
        page.evaluate("async () => (await fetch('gif.js')).headers.get('cross-origin-opener-policy')") == "same-origin"
    )
    page.goto(f"{site.url}blog/")
    assert page.inner_text("p") == "my own" and not [k for k in page.evaluate(KEPT) if "blog" in k]


def test_without_its_host_the_page_is_shown_and_a_new_version_is_taken_up(
    page: Page,
    host: Callable[..., Site],
    exported: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = host(exported(tmp_path / "page"))
    visited(page, site.url)
    (first,) = page.evaluate("caches.keys()")
    site.stop()
    page.goto(site.url)
    assert page.title().startswith("sfv") and page.evaluate("crossOriginIsolated") is True
    source = export._source
    monkeypatch.setattr(export, "_source", lambda name: source(name).replace(b"<title>sfv", b"<title>newer sfv"))
    exported(tmp_path / "page")
    site.start()
    page.goto(site.url)
    until(page, "async (first) => !(await caches.keys()).includes(first)", first)
    page.goto(site.url)
    assert page.title().startswith("newer sfv")
    until(page, READY)


def test_two_pages_of_one_host_keep_apart(
    page: Page, host: Callable[..., Site], exported: Callable[[Path], Path], tmp_path: Path
) -> None:
    exported(tmp_path / "both" / "a")
    shutil.copytree(tmp_path / "both" / "a", tmp_path / "both" / "b")
    site = host(tmp_path / "both")
    visited(page, f"{site.url}a/")
    page.goto(f"{site.url}b/")
    until_loaded(page, f"async () => (await caches.keys()).length === 2 && {CONTROLLED}")


def test_what_a_host_forbids_to_keep_is_not_kept(
    page: Page, host: Callable[..., Site], exported: Callable[[Path], Path], tmp_path: Path
) -> None:
    site = host(exported(tmp_path / "page"), Passing)
    visited(page, site.url)
    page.evaluate("async () => { await fetch('gif.js'); await fetch('runtime/ort.js'); }")
    until(page, f"async () => (await ({KEPT})()).includes('/runtime/ort.js')")
    kept = page.evaluate(KEPT)
    assert "/main.js" in kept and not {"/gif.js", "/requests.js"} & {*kept}
