"""Seconds as ratios of the same round."""

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from PIL import Image

from sfv.bench import systems
from sfv.bench.report import drawing, read_bench
from sfv.bench.run import bench, flops, summaries
from sfv.bench.systems import STAGES, contestant
from sfv.errors import SfvError
from sfv.families.load import load_stock
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.measures.video import psnr
from sfv.settings import Settings


def test_bench_measures_ratios_in_the_same_round(tiny_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    names, file = (str(tiny_folder), str(tiny_folder)), tmp_path / "no folder yet" / "bench.json"
    text = bench(tmp_path / "red.png", names, Settings(steps=2), 3, file)
    result = json.loads(file.read_text())
    first, second = result["models"]
    assert first["calls"] == second["calls"] >= 2
    assert first["times"] == {"unet": 1.0, "total": 1.0}
    for m in (first, second):
        parts = sum(m["median"][k] for k in STAGES if k != "total")
        assert 0 < m["median"]["picture"] and 0 < m["median"]["encode"]
        assert m["cold"]["first"] > 0 and m["peak_rss_mb"] > 50 and m["flops"] == first["flops"] > 1e6
        assert 0.5 * m["median"]["total"] < parts < 1.5 * m["median"]["total"]
        assert m["p95"]["total"] >= m["median"]["total"]
    assert len(text.splitlines()) == 4 and result["machine"]["threads"] >= 1


def test_bench_summaries_by_hand() -> None:
    taken = [{k: v for k in STAGES} | {"calls": 1} for v in (1.0, 10.0, 2.0, 30.0, 4.0, 16.0)]
    a, b = summaries([("a", ""), ("b", "")], taken)
    assert a["median"]["total"] == 2 and b["median"]["total"] == 16
    assert b["times"]["total"] == 10 and b["p95"]["unet"] == 30


def test_a_place_that_cannot_be_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    with pytest.raises(SfvError, match="cannot be made a folder"):
        bench(tmp_path / "red.png", ["no such model"], Settings(), 1, tmp_path / "file" / "bench.json")


def test_a_later_run_is_compared_and_another_request_refused(tiny_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "blue.png")
    names, file, one = (str(tiny_folder),), tmp_path / "bench.json", Settings(steps=1)
    bench(tmp_path / "red.png", names, one, 1, file)
    text = bench(tmp_path / "red.png", names, one, 1, against=file)
    assert "Against the earlier result:" in text and "total 1.0x -> 1.0x" in text and " s; " in text
    moved = json.loads(file.read_text())
    moved["machine"]["threads"] = 99
    file.write_text(json.dumps(moved))
    assert "from another machine" in bench(tmp_path / "red.png", names, one, 1, against=file)
    with pytest.raises(SfvError, match="another picture"):
        bench(tmp_path / "blue.png", names, one, 1, against=file)
    with pytest.raises(SfvError, match="another settings"):
        bench(tmp_path / "red.png", names, Settings(steps=2), 1, against=file)
    file.write_text("{}")
    with pytest.raises(SfvError, match="not a result of `sfv bench`"):
        read_bench(file, {})


def test_diffusers_own_pipeline_is_a_peer(tiny_folder: Path, tmp_path: Path) -> None:
    """As many calls, arithmetic of the same size, every stage seen, and nothing of ours in it."""
    Image.new("RGB", (40, 32), "red").save(tmp_path / "red.png")
    rows, file = (f"{tiny_folder}:2", f"diffusers={tiny_folder}:2"), tmp_path / "bench.json"
    bench(tmp_path / "red.png", rows, Settings(guidance=2.0), 1, file)
    ours, theirs = json.loads(file.read_text())["models"]
    assert ours["calls"] == theirs["calls"] == 4 and ours["hash"] == theirs["hash"]
    assert theirs["model"].startswith("diffusers=") and theirs["model"].endswith(":2")
    assert all(theirs["median"][k] > 0 for k in STAGES)
    assert 0.5 < ours["flops"] / theirs["flops"] < 2
    stock, _ = load_stock(tiny_folder)
    plain = {type(m).__module__.split(".")[0] for m in (*stock.pipe.unet.modules(), *stock.pipe.vae.modules())}
    assert "sfv" not in plain
    picture = file.with_suffix(".svg").read_text()
    assert picture.count("<rect") == 1 + (2 + 1) * (len(STAGES) - 1) and "diffusers=" in picture


def test_a_long_name_has_room_in_the_picture() -> None:
    row = {"model": "m" * 90, "calls": 1, "median": dict.fromkeys(STAGES, 1.0), "times": {"total": 1.0}}
    ends = re.search(r'<text x="(\d+)"[^>]*text-anchor="end"', drawing({"models": [row]}))
    assert ends and int(ends[1]) > 6 * 90


def test_the_peer_of_whole_loops_has_every_stage(tmp_path: Path) -> None:
    motion_folder.save(new_motion_model(TINY_MOTION, 0), tmp_path / "loops")
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    peer = contestant(f"diffusers={tmp_path / 'loops'}:1", "cpu")
    taken = peer.once(tmp_path / "red.png", Settings(), tmp_path)
    assert set(STAGES) - {"other"} <= taken.keys() and taken["calls"] == 2


@pytest.mark.parametrize("kind", ["loops", "frames"])
def test_a_peer_in_bfloat16_makes_nearly_the_same_clip(kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    """And the usual one stays in float32; guidance is left out by halving the calls."""
    folder = {"loops": tmp_path / "loops", "frames": tiny_folder}[kind]
    if kind == "loops":
        motion_folder.save(wiggle(new_motion_model(TINY_MOTION, 0)), folder)
    stock, ours = load_stock(folder)
    narrow, _ = load_stock(folder, dtype=torch.bfloat16)
    assert stock.unet.dtype == torch.float32 and narrow.unet.dtype == torch.bfloat16
    side = ours.defaults.height
    picture = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    asked = ours.defaults.model_copy(update={"steps": 2, "guidance": 1.5})
    (exact, calls, _), (near, _, _) = (s.animate(picture, asked, 0) for s in (stock, narrow))
    assert psnr(near, exact) > 25 and not torch.equal(near, exact) and calls == 4
    assert stock.animate(picture, asked.model_copy(update={"guidance": 1.0}), 0)[1] == 2


def test_rows_say_how_they_computed(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision and guidance, in table and JSON; the plain row of the peer is what it was."""
    monkeypatch.setattr(systems, "computes_bf16", lambda device: True)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    ends = (":1", "@float32/1:1", "@bfloat16:1", "@bfloat16/1.5:1")
    names, file = (f"{tiny_folder}@exact/eager:1", *(f"diffusers={tiny_folder}{e}" for e in ends)), tmp_path / "b.json"
    text = bench(tmp_path / "red.png", names, Settings(guidance=2.0), 1, file, "cpu")
    found = [(m["precision"], m["guidance"], m["calls"]) for m in json.loads(file.read_text())["models"]]
    own = [("float32", 2.0, 2)] * 2
    assert found == [*own, ("float32", 1.0, 1), ("bfloat16", 2.0, 2), ("bfloat16", 1.5, 2)]
    assert f"| {names[-1]} | bfloat16 | 1.5 | 2 |" in text


def test_a_peer_in_bfloat16_is_refused_where_it_is_only_imitated(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "computes_bf16", lambda device: False)
    with pytest.raises(SfvError, match="only imitates bfloat16"):
        contestant(f"diffusers={tiny_folder}@bfloat16:1", "cpu")


def test_a_peer_refuses_what_it_cannot_make(tiny_folder: Path, tmp_path: Path) -> None:
    peer = contestant(f"diffusers={tiny_folder}:1", "cpu")
    with pytest.raises(SfvError, match="makes no transparent clips"):
        peer.once(tmp_path / "any.png", Settings(transparent=True), tmp_path)


def test_a_folder_may_have_an_at_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "me@host"
    folder.mkdir()
    assert systems.split_peer(str(folder)) == (str(folder), "", None)
    assert systems.split_peer(f"{folder}@bfloat16/1.5") == (str(folder), "bfloat16", 1.5)


def test_rows_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="MODEL:STEPS"):
        contestant("diffusers=sticker:none", "cpu")
    for how in ("fast", "bfloat16/eager", "bfloat16/", "bfloat16/0.5", "float32/nan"):
        with pytest.raises(SfvError, match=r"must be diffusers=MODEL\[@float32.bfloat16\[/GUIDANCE"):
            contestant(f"diffusers=sticker@{how}", "cpu")
    with pytest.raises(SfvError, match="neither a folder"):
        contestant("diffusers=nothing/here/at-all", "cpu")


def test_flops_grow_with_steps(tiny_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    one, two, three = (
        flops(contestant(f"{tiny_folder}:{n}", "cpu"), tmp_path / "red.png", Settings(), tmp_path) for n in (1, 2, 3)
    )
    assert two - one == three - two > 0
