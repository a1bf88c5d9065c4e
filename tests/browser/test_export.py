"""What the exported folder holds."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sfv.browser import export
from sfv.browser.export import export_page, without_server
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.load import load, model_folder, save
from sfv.families.motion.networks import TINY_MOTION, new_motion_model

DEMO = Path(export.__file__).parent.parent / "demo" / "page"


@pytest.fixture
def page(tmp_path: Path, exported: Callable[[Path], Path]) -> Path:
    return exported(tmp_path / "page")


def test_every_file_is_listed_with_its_size_and_hash(page: Path) -> None:
    listed = json.loads((page / "files.json").read_text())
    found = {str(p.relative_to(page)) for p in page.rglob("*") if p.is_file()}
    assert found == {*listed["files"], "files.json", "service_worker.js"}
    assert listed["files"]["runtime/ort.js"]["bytes"] == 7 and listed["examples"]
    assert {"licences/sfv-LICENSE.txt", "licences/onnxruntime-web-LICENSE.txt", "licences/model-NOTICE.txt"} <= found
    assert "Apache License" in (page / "licences" / "sfv-LICENSE.txt").read_text()
    worker = (page / "service_worker.js").read_text()
    own = json.loads(re.findall(r"OWN = new Set\((.*)\)", worker)[0])
    shell = json.loads(re.findall(r"SHELL = (.*);", worker)[0])
    assert listed["version"] in worker and "@" not in worker and set(own) == {*listed["files"], "files.json"}
    assert "index.html" in shell and "model/onnx.json" in shell and not {"model/unet.onnx", "runtime/ort.js"} & {*shell}


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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["cat.mp4", "files.json", "sub/notes.txt"])
def test_a_page_is_not_mixed_into_other_files(tmp_path: Path, exported: Callable[[Path], Path], name: str) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(
        SfvError, match="out is not empty and has no page of sfv's: .* name a folder of its own, such as"
    ):
        exported(tmp_path / "out")
    assert contents(tmp_path / "out") == {name: b"{}"}


def test_a_page_is_replaced_where_it_is_and_nothing_else(page: Path, exported: Callable[[Path], Path]) -> None:
    """A second export makes the same; a name that a newer version needs may be somebody else's by now."""
    before = contents(page)
    (page / "notes.txt").write_text("mine")
    (page / "index.html").write_text("an older one")
    assert contents(exported(page)) == before | {"notes.txt": b"mine"}
    listed = json.loads((page / "files.json").read_text())
    del listed["files"]["gif.js"]
    (page / "files.json").write_text(json.dumps(listed))
    (page / "gif.js").write_text("mine")
    with pytest.raises(SfvError, match="gif.js is there and was not written by sfv; choose another place"):
        exported(page)
    assert (page / "gif.js").read_text() == "mine"


def test_an_export_that_was_stopped_is_not_in_the_way(
    tmp_path: Path, exported: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(export, "_hash", lambda path: 1 / 0)  # after everything was written once
        with pytest.raises(ZeroDivisionError):
            exported(tmp_path / "page")
    assert (tmp_path / "page" / "index.html").exists()
    assert json.loads((exported(tmp_path / "page") / "files.json").read_text())["version"]


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
