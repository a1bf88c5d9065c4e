"""What the exported folder holds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sfv.browser import export
from sfv.browser.export import export_page, without_server
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.load import load, model_folder, save
from sfv.families.motion.networks import TINY_MOTION, new_motion_model

DEMO = Path(export.__file__).parent.parent / "demo" / "page"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, with one short file each instead of networks and runtime."""

    def networks(_: Path, out: Path, stored: str, kept: Any) -> list[Path]:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("unet.onnx", "onnx.json"):
            (out / name).write_text(stored)
        return [out / "unet.onnx"]

    monkeypatch.setattr(export, "export_onnx", networks)
    monkeypatch.setattr(export, "draws", lambda model: False)
    monkeypatch.setattr(export, "runtime_files", lambda _: {"ort.js": b"runtime"})
    export_page(model_folder("sticker"), tmp_path / "page")
    return tmp_path / "page"


def test_every_file_is_listed_with_its_size_and_hash(page: Path) -> None:
    listed = json.loads((page / "files.json").read_text())
    found = {str(p.relative_to(page)) for p in page.rglob("*") if p.is_file()}
    assert found == {*listed["files"], "files.json", "service_worker.js"}
    assert listed["files"]["runtime/ort.js"]["bytes"] == 7 and listed["examples"]
    assert {"licences/sfv-LICENSE.txt", "licences/onnxruntime-web-LICENSE.txt", "licences/model-NOTICE.txt"} <= found
    assert "Apache License" in (page / "licences" / "sfv-LICENSE.txt").read_text()
    worker = (page / "service_worker.js").read_text()
    assert listed["version"] in worker and '"index.html"' in worker and "@" not in worker


def test_the_page_asks_no_server(page: Path) -> None:
    """No address of another host but links to follow, no markup of the server's, every element that scripts want."""
    markup = (page / "index.html").read_text()
    assert not re.findall(r"/api/|/page/|id=\"tab-race\"|id=\"mask\"|id=\"eight\"|<!--", markup)
    assert set(re.findall(r"https?://[\w.]+", markup)) == {"https://arxiv.org"}
    scripts = {p.name: p.read_text() for p in page.glob("*.js")}
    assert not [n for n, text in scripts.items() if re.search(r"https?://(?!www.w3.org)", text) or '"/api/' in text]
    wanted = {name for text in scripts.values() for name in re.findall(r'\$\("([\w-]+)"\)', text)}
    absent = {name for name in wanted if f'id="{name}"' not in markup}
    assert absent <= {"platforms"}, "settings.js fills that one for servers alone"


def test_the_demos_page_keeps_all_of_its_own() -> None:
    markup = (DEMO / "index.html").read_text()
    assert markup.count("<!-- server -->") == markup.count("<!-- /server -->") > 5
    assert 'id="tab-race"' in markup and "Content-Security-Policy" in without_server(markup)


def test_a_folder_of_somebody_elses_is_left_alone(page: Path) -> None:
    (page / "files.json").write_text("{}")
    before = (page / "index.html").read_bytes()
    with pytest.raises(SfvError, match="files.json is there and was not written by sfv"):
        export_page(model_folder("sticker"), page)
    assert (page / "index.html").read_bytes() == before


def test_a_file_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "runtime_files", lambda _: {})
    (tmp_path / "page").write_text("mine")
    with pytest.raises(SfvError, match="page cannot be made a folder .there is a file of that name."):
        export_page(model_folder("sticker"), tmp_path / "page")
    assert (tmp_path / "page").read_text() == "mine"


def test_models_of_many_steps_are_refused(tmp_path: Path) -> None:
    save(new_motion_model(TINY_MOTION, 0), tmp_path / "model")
    defaults = tmp_path / "model" / "unet" / "sfv.json"
    defaults.write_text(json.dumps(json.loads(defaults.read_text()) | {"steps": 25}))
    with pytest.raises(SfvError, match="makes clips in more than one call"):
        export_page(tmp_path / "model", tmp_path / "out")


def test_models_that_make_no_loops_are_refused(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tiny_folder), str(tmp_path / "out"), "--to", "web"]) == 1
    assert "the page is for models such as sticker" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_decoder_that_draws_keeps_its_drawn_part() -> None:
    assert export.draws(new_motion_model(TINY_MOTION, 0))


@pytest.mark.weights
def test_the_embedded_decoder_draws_nothing() -> None:
    assert not export.draws(load("sticker"))
