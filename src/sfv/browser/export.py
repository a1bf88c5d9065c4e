"""A static folder with everything: page, networks, runtime, licences."""

import hashlib
import json
import re
from importlib.metadata import distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import torch

import sfv
from sfv.browser.runtime import LICENCE, runtime_files
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import check_apart, load
from sfv.speed.onnx import export_onnx
from sfv.system.files import inside, make_folder, replacing

MARK = "files.json"
"""Who wrote the folder, and every file's size and SHA-256: by them the page tells a download that was cut short, and
the next export what it may replace."""
ROOTS = ("main.js", "engine.js", "theme.js")
"""Scripts that the page and its worker begin with; what they import follows."""
WORKER = "service_worker.js"
IMPORT = re.compile(r'(?:from|import) "\./([\w.]+)"')
SERVER_PART = re.compile(r"[ \t]*<!-- server -->.*?<!-- /server -->\n?", re.DOTALL)
"""Of demo/page/index.html: what needs the server."""
BROWSER_PART = re.compile(r"<!-- browser(.*?)-->", re.DOTALL)
"""What stands there instead in the page without one: a comment, opened."""


def export_page(folder: Path, out: Path, runtime: Path | None = None) -> int:
    """Write the page for a model of whole loops; returns its files' bytes.

    `runtime` is onnxruntime-web's package; without it, it is fetched once and kept in the cache folder. Raises SfvError
    for other models, where a package or the network is missing, and for a folder of other files.
    """
    check_apart(folder, out)
    model = load(folder, dtype=torch.float32)
    if not model.loops:
        raise SfvError(f"{folder} makes no whole loops: the page is for models such as sticker; name one")
    if model.defaults.steps > 1 or model.defaults.guidance > 1:
        raise SfvError(f"{folder} makes clips in more than one call: the page is for models such as sticker; name one")
    parts = _page() | {f"runtime/{name}": data for name, data in runtime_files(runtime).items()}
    known = _ours_in(out, list(parts))
    make_folder(out)
    _write(out / MARK, json.dumps({"sfv": sfv.__version__, "files": known | dict.fromkeys(parts, {})}).encode())
    parts_used = ("rest", "trust", "flow") if draws(model) else ("flow",)
    graphs = export_onnx(folder, out / "model", "float16", {"decoder.onnx": parts_used})
    for name, data in parts.items():
        _write(out / name, data)
    names = [*parts, *(f"model/{p.name}" for p in graphs), "model/onnx.json"]
    listed = {name: {"bytes": (out / name).stat().st_size, "sha256": _hash(out / name)} for name in sorted(names)}
    version = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
    examples = [name.removeprefix("examples/") for name in listed if name.startswith("examples/")]
    facts = {"sfv": sfv.__version__, "version": version, "examples": examples, "files": listed}
    _write(out / MARK, (json.dumps(facts, indent=1) + "\n").encode())
    _write(out / WORKER, _service_worker(version, list(listed)))
    return sum(p.stat().st_size for p in out.rglob("*") if p.is_file())


def _ours_in(out: Path, names: list[str]) -> dict[str, Any]:
    """What an earlier export lists; SfvError for a folder of other files, and for a file of others called as ours."""
    if not inside(out):
        return {}
    try:
        found = json.loads((out / MARK).read_text())
        known = dict(found["files"]) if "sfv" in found else None
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known is None:
        raise SfvError(
            f"{out} is not empty and has no page of sfv's: its files would lie among others; "
            f"name a folder of its own, such as {out / 'page'}"
        )
    if other := next((name for name in names if name not in known and (out / name).exists()), None):
        raise SfvError(f"{out / other} is there and was not written by sfv; choose another place for the result")
    return known


@torch.inference_mode()
def draws(model: VideoModel) -> bool:
    """Whether its decoder draws anything beside the picture that it moves."""
    want = model.defaults
    latents = torch.randn(1, *model.codec.latent_shape(want.frames, want.height, want.width))
    drawn = model.draw(latents, torch.rand(1, model.codec.channels, want.height, want.width))
    assert drawn.moved is not None
    return not torch.equal(drawn.frames, drawn.moved)


def _examples() -> list[Traversable]:
    pictures = (p for p in (files("sfv") / "examples").iterdir() if p.name.endswith(".png") and p.name != "example.png")
    return sorted(pictures, key=lambda p: p.name)


def _page() -> dict[str, bytes]:
    """Scripts, markup, pictures and licences, by their place in the folder."""
    found = {name: _source(name) for name in (*_scripts(), "style.css", "icon.svg")}
    found["index.html"] = without_server(_source("index.html").decode()).encode()
    found |= {f"examples/{picture.name}": picture.read_bytes() for picture in _examples()}
    licence = distribution("sfv").read_text("licenses/LICENSE") or "https://www.apache.org/licenses/LICENSE-2.0\n"
    notice = (files("sfv") / "weights" / "NOTICE").read_bytes()
    found["licences/sfv-LICENSE.txt"], found["licences/model-NOTICE.txt"] = licence.encode(), notice
    found["licences/onnxruntime-web-LICENSE.txt"] = LICENCE.encode()
    return found


def _scripts() -> list[str]:
    """The roots and everything that they import."""
    found, left = list[str](), list(ROOTS)
    while left:
        name = left.pop()
        if name not in found:
            found.append(name)
            left += IMPORT.findall(_source(name).decode())
    return sorted(found)


def _source(name: str) -> bytes:
    """A file of this page, else the one that it shares with `sfv demo`."""
    mine = files("sfv") / "browser" / "page" / name
    return (mine if mine.is_file() else files("sfv") / "demo" / "page" / name).read_bytes()


def without_server(markup: str) -> str:
    """demo/page/index.html without what needs the server; addresses relative, so that any folder of a host will do."""
    return BROWSER_PART.sub(r"\1", SERVER_PART.sub("", markup)).replace('"page/', '"')


def _service_worker(version: str, listed: list[str]) -> bytes:
    """What answers for the page's files; models and runtimes are kept when they are first wanted."""
    shell = [MARK, "model/onnx.json", *(n for n in listed if not n.startswith(("model/", "runtime/")))]
    text = _source(WORKER).decode().replace("@VERSION@", version)
    text = text.replace("[]); // @OWN@", f"{json.dumps([MARK, *listed])}); //")
    return text.replace("[]; // @SHELL@", f"{json.dumps(shell)}; //").encode()


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    with replacing(path) as beside:
        beside.write_bytes(data)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
