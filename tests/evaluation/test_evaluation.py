"""The ruler from end to end on a tiny store and a tiny folder of videos, and every way to hold it wrongly."""

import ast
import copy
import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import wiggle
from safetensors.torch import load_file

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.evaluation import candidates, extract
from sfv.evaluation.baselines import squash, sway, through, wave
from sfv.evaluation.candidates import Subject, baselines, kept_key, moved, settings_of, still, subject
from sfv.evaluation.corruption_study import DEGREES, seen_by, study
from sfv.evaluation.corruption_study import markdown as study_table
from sfv.evaluation.evaluate import evaluate, paired, read_result
from sfv.evaluation.latents import extractor, latent_distances
from sfv.evaluation.protocol import TAKE, Baselines, Protocol, read_protocol, shipped
from sfv.evaluation.real_clips import evenly_around, open_set, read_made
from sfv.evaluation.reference import between_halves, open_reference
from sfv.evaluation.report import against
from sfv.evaluation.settings import EvaluateSettings, StudySettings
from sfv.evaluation.table import RATIOS, Measured, Pair, Result, both_tables, latex, markdown
from sfv.families.base import Codec, VideoModel
from sfv.families.load import load
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation.generate import generate
from sfv.measures.distances import Resampled, frechet_distance
from sfv.measures.recogniser import RECOGNISER, Recogniser, save_recogniser
from sfv.media import write_clip
from sfv.settings import Speed
from sfv.speed.optimize import open_model

SRC = Path(__file__).parent.parent.parent / "src" / "sfv"
OLD_HASH = "2022278a2db64dcd"
"""The hash of protocol "sticker" before it had parts, whole rounds and baselines."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written into the user's cache."""
    monkeypatch.setenv("SFV_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of feature networks with a random recogniser."""
    torch.manual_seed(0)
    (tmp_path / "weights").mkdir()
    save_recogniser(Recogniser(), tmp_path / "weights" / RECOGNISER)
    return tmp_path / "weights"


def written(path: Path, **changes: Any) -> str:
    """A protocol file for 32x32 clips."""
    plain: dict[str, Any] = {"name": "tiny", "split": "train", "frames": 4, "fps": 12, "height": 32, "width": 32}
    plain |= {"extractors": [{"kind": "recogniser", "dims": 3}], "bootstrap": 20, "diversity": 1}
    path.write_text(json.dumps(plain | changes))
    return str(path)


@pytest.fixture(scope="module")
def loops_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of whole loops, 4 frames at 8 fps, with random weights everywhere."""
    folder = tmp_path_factory.mktemp("models") / "loops"
    motion_folder.save(wiggle(new_motion_model(TINY_MOTION, 0)), folder)
    return folder


@pytest.fixture(scope="module")
def loops(loops_folder: Path) -> VideoModel:
    """The same, loaded."""
    return load(loops_folder, decode_dtype=torch.float32)


@pytest.fixture(scope="module")
def wide_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine families of two random loops with 24 frames of 32x32."""
    folder = tmp_path_factory.mktemp("store")
    np.random.default_rng(0).integers(0, 256, (18 * 24, 32, 32, 4), np.uint8).tofile(folder / "frames.u8")
    shared = {"name": "", "group": "", "split": "train", "count": 24}
    clips = [{"id": f"c{i}", "family": f"f{i // 2}", "start": 24 * i} | shared for i in range(18)]
    (folder / "store.json").write_text(json.dumps({"size": 32, "fps": 24, "clips": clips}))
    return folder


@pytest.fixture
def how(tmp_path: Path, tiny_folder: Path, weights: Path) -> EvaluateSettings:
    """A request that takes seconds."""
    protocol = written(tmp_path / "tiny.json")
    rows = (f"{tiny_folder}:2", f"{tiny_folder}:1")
    return EvaluateSettings(models=rows, protocol=protocol, weights=weights, out=tmp_path / "out", device="cpu")


def digits(result: Any) -> Any:
    """A result without what depends on the clock."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in result.as_dict()["rows"]]


def test_a_report_from_end_to_end(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:
    result = evaluate(store, how)
    names = [r.name for r in result.rows]
    assert names == ["real clips", "codec alone", "still picture", "sway", "squash", "tiny:2", "tiny:1"]
    real, coded, still, _, _, two, one = result.rows
    assert (
        real.frechet["mean"]["value"] == pytest.approx(0, abs=1e-9)
        and real.motion_to_real == 1
        and real.first_frame_psnr == 99
    )
    assert real.psnr_to_real == 99 > coded.psnr_to_real > 0
    assert still.flow < 1e-3 < real.flow and still.frechet["mean"]["value"] > 0
    assert two.calls == 4 and one.calls == 2 and two.seconds and one.unet_seconds and one.seconds > one.unet_seconds
    assert one.diversity and one.diversity > 0 and two.motion_to_teacher == 1
    assert len(one.from_picture) == 4 and real.from_picture[0] == 0 < real.from_picture[3]
    for row in result.rows[1:]:
        assert row.frechet["mean"]["low"] <= row.frechet["mean"]["value"] <= row.frechet["mean"]["high"]
    page = (how.out / "index.html").read_text()
    assert "too few clips" in page and "95 % each" in page
    assert page.count("data:image/webp") >= 5 * 5 and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert read_result(how.out / "table.json")["protocol"]["clips"] == 5
    assert (how.out / "table.tex").read_text().count(r"\\") == 8
    drawn = (how.out / "distances.svg").read_text()
    assert drawn.strip() in page and drawn.count("<rect") == 1 + 6 and "tiny:1 (2 calls)" in drawn
    assert len(list((how.out / "pictures").glob("*.png"))) == 5
    key = json.loads((how.out / "blind-key.json").read_text())
    assert len(key) == 5 and all({k["A"], k["B"]} == {"tiny:2", "tiny:1"} for k in key)
    sheet = (how.out / "blind.html").read_text()
    assert sheet.count("data:image/webp") == 10 and "tiny:" not in sheet
    others = ["codec alone", "still picture", "sway", "squash"]
    pairs = json.loads((how.out / "table.json").read_text())["pairs"]
    assert [(p["row"], p["other"]) for p in pairs if p["row"] == "tiny:2"] == [
        ("tiny:2", k) for k in [*others, "tiny:1"]
    ]
    assert len(pairs) == 10 and all(p["low"] <= p["ratio"] <= p["high"] for p in pairs)
    mean = {r.name: r.frechet["mean"]["value"] for r in result.rows}
    assert all(p["ratio"] == pytest.approx(mean[p["row"]] / mean[p["other"]]) for p in pairs)
    assert RATIOS in (how.out / "table.md").read_text() and RATIOS in result.text() and RATIOS in page
    assert real.latents and still.latents and two.latents and one.latents
    assert real.latents["value"] < 1e-6 and real.latents_to_still == pytest.approx(0, abs=1e-6)
    assert still.latents_to_still == 1 and two.latents_to_still == pytest.approx(
        two.latents["value"] / still.latents["value"]
    )
    assert "latents" not in two.frechet and "latents/still" in result.text()
    assert still.seam == still.seam_top == 0 and real.seam and real.seam_top and real.seam_top >= real.seam > 0


def test_the_same_digits_twice_and_by_any_number_of_workers(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:
    how = how.model_copy(update={"models": how.models[1:]})
    first = evaluate(store, how)
    for workers, out in ((1, "a"), (3, "b")):
        again = evaluate(store, how.model_copy(update={"workers": workers, "out": tmp_path / out}))
        assert digits(again) == digits(first)


def test_rows_of_real_clips_are_kept_and_a_damaged_file_is_made_anew(
    store: Path,
    how: EvaluateSettings,
    tmp_path: Path,
) -> None:
    how = how.model_copy(update={"limit": 4})
    rows = open_reference(store, how).true["recogniser"]
    kept = sorted((tmp_path / "cache" / "features").iterdir())
    assert len(kept) == 2  # the real clips' and the axes'
    times = [p.stat().st_mtime_ns for p in kept]
    assert torch.equal(open_reference(store, how).true["recogniser"], rows)
    assert [p.stat().st_mtime_ns for p in kept] == times
    kept[0].write_bytes(b"cut off")
    assert torch.equal(open_reference(store, how).true["recogniser"], rows)


def test_clips_and_rows_made_by_other_code_are_not_taken_for_todays(
    store: Path, how: EvaluateSettings, tiny: VideoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, cache = read_protocol(how.protocol), tmp_path / "cache" / "features"
    asked = settings_of(tiny, protocol, 1, None)
    before = kept_key(tiny, asked, protocol)
    open_reference(store, how)
    rows = len(list(cache.iterdir()))
    assert kept_key(tiny, asked, protocol) == before
    monkeypatch.setattr(candidates, "sources", lambda *places: "other code")
    monkeypatch.setattr(extract, "sources", lambda *places: "other code")
    assert kept_key(tiny, asked, protocol) != before
    open_reference(store, how)
    assert len(list(cache.iterdir())) == 2 * rows


def test_the_code_that_makes_clips_and_rows_is_known() -> None:
    """What it imports is part of it, but for what cannot change a number."""
    harmless = {"sfv", "sfv.errors", "sfv.types", "sfv.settings", "sfv.families.diffusers_needed"}
    harmless |= {f"sfv.evaluation.{name}" for name in ("protocol", "real_clips", "baselines", "origins")}
    harmless |= {f"sfv.evaluation.features.{name}" for name in ("lpips", "weights")} | {"sfv.data.sources"}
    harmless |= {"sfv.system.files", "sfv.system.code_hash", "sfv.data.stickers"}  # the real clips are in the key
    for places in (candidates.MAKERS, extract.SEERS):
        mine = {p for place in places for p in ([SRC / place] if "." in place else (SRC / place).rglob("*.py"))}
        known = {p: ".".join(["sfv", *p.relative_to(SRC).with_suffix("").parts]) for p in mine}
        outside = needs(mine) - {name.removesuffix(".__init__") for name in known.values()} - harmless
        assert all(p.exists() for p in mine) and outside == set()


def needs(paths: set[Path]) -> set[str]:
    """Modules of ours that files import."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sfv":
                inner = [f"{node.module}.{a.name}" for a in node.names]
                files = {n for n in inner if (SRC.parent / n.replace(".", "/")).with_suffix(".py").exists()}
                found |= files or {node.module}
    return found


def test_results_of_other_protocols_are_refused(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:
    how = how.model_copy(update={"models": how.models[1:]})
    evaluate(store, how)
    table, out = how.out / "table.json", tmp_path / "other"
    same = evaluate(store, how.model_copy(update={"against": table, "out": out}))
    assert "(too few clips)" in (out / "table.md").read_text() and same.rows
    with pytest.raises(SfvError, match="other protocol .* must not be compared"):
        evaluate(store, how.model_copy(update={"against": table, "limit": 4}))
    with pytest.raises(SfvError, match="not a result of `sfv evaluate`"):
        evaluate(store, how.model_copy(update={"against": tmp_path / "tiny.json"}))
    save_recogniser(Recogniser(), Path(str(how.weights)) / RECOGNISER)
    with pytest.raises(SfvError, match="other feature networks"):
        evaluate(store, how.model_copy(update={"against": table}))


def test_a_row_says_which_model_made_it_and_how(store: Path, how: EvaluateSettings, tiny_folder: Path) -> None:
    evaluate(store, how.model_copy(update={"models": how.models[1:], "limit": 4}))
    found = json.loads((how.out / "table.json").read_text())
    rows, ours = {r["name"]: r["origin"] for r in found["rows"]}, load(tiny_folder)
    one = rows["tiny:1"]
    assert (one["model"], one["hash"], one["steps"]) == ("tiny", ours.hash, 1)
    assert (one["motion"], one["guidance"]) == (ours.defaults.motion, ours.defaults.guidance)
    assert one["speed"]["profile"] == "fast" and one["speed"]["precision"] in ("float32", "bfloat16")
    assert rows["codec alone"]["hash"] == ours.hash and rows["real clips"] is None
    run = found["protocol"]["run"]
    assert {"command", "sfv", "torch", "python", "device", "threads"} <= run.keys() and "/" not in run["command"]


def test_another_model_of_the_same_name_is_said() -> None:
    row = replace(read_row(), name="mine:1", origin={"hash": "bb"})
    now = Result({"clips": 51}, [row])
    earlier = {"rows": [asdict(replace(row, origin={"hash": "aa"}))]}
    assert "another model of this name: its hash was aa, here bb" in against(now, earlier)
    old = {k: v for k, v in asdict(row).items() if k != "origin"}  # as tables were before
    assert "mine:1" in against(now, {"rows": [old]}) and "another model" not in against(now, {"rows": [old]})
    assert "another model" not in against(now, {"rows": [asdict(row)]})


def test_clips_made_elsewhere_are_measured_too(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:
    protocol = read_protocol(how.protocol)
    real, folder = open_set(store, protocol), tmp_path / "theirs"
    folder.mkdir()
    for clip in real.clips:
        write_clip(clip.read(), folder / f"{clip.id}.mp4", 12)
    theirs = how.model_copy(update={"models": (str(folder),), "out": tmp_path / "out2"})
    row = evaluate(store, theirs).rows[-1]
    assert row.name == "theirs" and row.seconds is None and row.first_frame_psnr > 30
    assert row.origin and row.origin["files"] == "theirs"
    first = real.clips[:1]
    for frames, fps, why in ((5, 12.0, "has 5 frames"), (4, 6.0, "plays at 6 frames")):
        write_clip(real.clips[0].read()[[0, 1, 2, 3, 3][:frames]], folder / f"{first[0].id}.mp4", fps)
        with pytest.raises(SfvError, match=why):
            list(read_made(folder, first, protocol))
    write_clip(torch.zeros(4, 48, 32, 3, dtype=torch.uint8), folder / f"{first[0].id}.mp4", 12)
    with pytest.raises(SfvError, match="is 48x32"):
        list(read_made(folder, first, protocol))
    (folder / f"{first[0].id}.mp4").write_bytes(b"no video")
    with pytest.raises(SfvError, match="not a readable video"):
        list(read_made(folder, first, protocol))
    (folder / f"{first[0].id}.mp4").unlink()
    with pytest.raises(SfvError, match="has no clip"):
        evaluate(store, theirs)


@pytest.mark.parametrize("row", ["squash", "still picture", "sway@fast:1", "made/sway", "real clips:25"])
def test_a_row_is_not_called_as_one_that_no_model_makes(row: str, how: EvaluateSettings, tmp_path: Path) -> None:
    """Said before anything is read."""
    name = Path(row).name.partition("@")[0].partition(":")[0]
    with pytest.raises(SfvError, match=f"'{name}' is what a row is called that no model makes .*; rename the folder"):
        evaluate(tmp_path / "no store", how.model_copy(update={"models": (row,)}))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clips": 6}, "has 5 clips for protocol 'tiny', which needs 6"),
        ({"split": "test"}, "no clips of split 'test'"),
        ({"fps": 7}, "must divide it"),
        ({"height": 64}, "wants 64x32"),
        ({"frames": 1}, "frames: input should be greater"),
        ({"speed": 1}, "speed: extra inputs"),
        ({"extractors": [{"kind": "recogniser", "sha256": "0" * 64}]}, "the protocol wants 0000"),
        ({"extractors": [{"kind": "time"}]}, "transnetv2_fp16.safetensors is not there"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    changes: dict[str, Any],
    why: str,
    store: Path,
    how: EvaluateSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    protocol = written(tmp_path / "bad.json", **changes)
    flags = ["--models", "sticker:1", "--protocol", protocol, "--weights", str(how.weights)]
    assert main(["evaluate", str(store), *flags, "--out", str(tmp_path / "o")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("sfv: ") and why in said


def test_data_is_named_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ([], [str(store), "--data", str(store)]):
        assert main(["evaluate", *flags, "--models", "sticker:1"]) == 2
        assert "--data: name one clip store" in capsys.readouterr().err


def test_protocols_ship_and_their_hash_is_their_content() -> None:
    parts = {f"{k}{part}" for k in ("sticker", "loops") for part in ("", "-selection", "-report")}
    parts.add("loops-training")
    assert {"offline", "ucf101"} | parts == set(shipped())
    assert len({read_protocol(k).digest() for k in parts}) == 7
    a = read_protocol("sticker")
    assert a.digest() == read_protocol("sticker").digest() != read_protocol("sticker", 20).digest()
    assert a.digest() != a.model_copy(update={"bootstrap": 5}).digest()
    with pytest.raises(SfvError, match="'fvd' is unknown; use loops, .* ucf101 or a JSON file"):
        read_protocol("fvd")


def test_ucf101_is_read_as_the_paper_reads_it(tmp_path: Path) -> None:
    """Every 25/7-th frame from the first on, 14 of them, 320x240; too short and damaged videos are left out."""
    for i, name in enumerate(("Archery/v_1", "Archery/v_2", "Diving/v_1", "Diving/v_2")):
        path = tmp_path / "UCF-101" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = torch.arange(60) * 4 + i
        write_clip(levels.to(torch.uint8)[:, None, None, None].repeat(1, 240, 320, 3), path, 25)
    write_clip(torch.zeros(30, 240, 320, 3, dtype=torch.uint8), tmp_path / "UCF-101" / "Diving" / "v_short.mp4", 25)
    (tmp_path / "UCF-101" / "Diving" / "v_broken.mp4").write_bytes(b"no")
    protocol = read_protocol("ucf101").model_copy(update={"clips": 4})
    found = open_set(tmp_path / "UCF-101", protocol)
    assert sorted(c.id for c in found.clips) == ["Archery__v_1", "Archery__v_2", "Diving__v_1", "Diving__v_2"]
    clip = next(c for c in found.clips if c.id == "Archery__v_1")
    frames = clip.read()
    assert frames.shape == (14, 240, 320, 3)
    want = torch.tensor([int(25 * t / 7 + 1e-4) * 4.0 for t in range(14)])
    assert (frames.float().mean((1, 2, 3)) - want).abs().max() < 2.5
    assert [c.id for c in open_set(tmp_path / "UCF-101", protocol).clips] == [c.id for c in found.clips]
    with pytest.raises(SfvError, match="has 4 clips for protocol 'ucf101', which needs 5 .*; 2 were left out"):
        open_set(tmp_path / "UCF-101", protocol.model_copy(update={"clips": 5}))


def test_videos_are_evaluated_end_to_end_at_the_models_own_size(
    tmp_path: Path, tiny: VideoModel, tiny_folder: Path, weights: Path
) -> None:
    (tmp_path / "videos").mkdir()
    for i in range(4):
        shift = [torch.roll(torch.arange(96 * 80).reshape(80, 96) % 251, t * (i + 1), 1) for t in range(12)]
        clip = torch.stack(shift).to(torch.uint8)[..., None].repeat(1, 1, 1, 3)
        write_clip(clip, tmp_path / "videos" / f"v{i}.mp4", 12)
    protocol = written(
        tmp_path / "p.json", fit="stretch", height=40, width=48, fps=6, basis=0, diversity=0, per_family=9
    )
    how = EvaluateSettings(
        models=(f"{tiny_folder}:1",), protocol=protocol, weights=weights, out=tmp_path / "o", device="cpu"
    )
    rows = evaluate(tmp_path / "videos", how).rows
    assert [r.name for r in rows] == ["real clips", "still picture", "sway", "squash", "tiny:1"]
    assert rows[4].calls == 2 and rows[4].diversity is None and rows[4].latents is None


def test_study_tells_who_sees_what(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:
    text = study(store, StudySettings(protocol=how.protocol, weights=how.weights, out=tmp_path / "study"))
    found = json.loads((tmp_path / "study" / "study.json").read_text())
    noise = found["distance"]["recogniser"]["noise"]
    assert len(noise) == 1 + len(DEGREES) and noise[0] == 0 and noise == sorted(noise)
    assert "recogniser" in found["seen_by"]["noise"] and "| noise | " in text
    assert (tmp_path / "study" / "study.svg").read_text().count("<polyline") == 8


def test_halves_are_random_and_the_same_every_time() -> None:
    """Sorted rows, as clips are by their names: the first half against the second is no measure of chance."""
    g = torch.Generator().manual_seed(1)
    rows = torch.cat([torch.randn(20, 3, generator=g), 5 + torch.randn(20, 3, generator=g)])
    found, mixed = between_halves(rows), torch.randn(40, 3, generator=g)
    assert found == between_halves(rows) < 0.2 * frechet_distance(rows[:20], rows[20:])
    shuffled = [between_halves(mixed[torch.randperm(40, generator=g)]) for _ in range(2)]
    assert shuffled == pytest.approx([between_halves(mixed)] * 2, rel=0.3)


def test_seen_means_rising_at_every_degree() -> None:
    up, dip = [0.0, 1, 2, 3, 4], [0.0, 1, 3, 2, 4]
    from sfv.measures.corruptions import FAULTS

    table = {"a": dict.fromkeys(FAULTS, up), "b": dict.fromkeys(FAULTS, dip)}
    assert seen_by(table) == {f: ["a"] for f in FAULTS}


def test_the_study_in_the_docs_is_the_committed_one_and_every_fault_is_seen() -> None:
    docs = Path(__file__).parent.parent.parent / "docs"
    found = json.loads((docs / "results" / "study.json").read_text())
    assert study_table(found["distance"], found["real_half_to_half"]) in (docs / "measure.md").read_text()
    assert seen_by(found["distance"]) == found["seen_by"] and all(found["seen_by"].values())


def test_tables_have_a_line_per_row() -> None:
    spread = {"value": 1.0, "low": 0.5, "high": 1.5, "bias": 0.1}
    row = Measured(
        name="a_b:1",
        calls=1,
        seconds=0.3,
        unet_seconds=0.1,
        frechet={"mean": spread, "time": spread, "appearance": spread},
        kernel={"time": 0.0},
        motion_to_real=0.9,
        motion_to_teacher=1.1,
        diversity=None,
        diversity_lpips=None,
        flow=0.5,
        flow_top=2.0,
        dynamic_degree=0.25,
        warp_error=1.0,
        flicker=0.2,
        sharpness=0.9,
        saturation=1.0,
        from_picture=[0.0, 3.0],
        first_frame_psnr=30.0,
        psnr_to_real=20.0,
        first_frame_lpips=None,
        lpips_to_real=0.1,
    )
    text = markdown([row, row])
    assert text.count("\n") == 3 and "| a_b:1 | 1 | 0.30 | 0.10 | 1.0 [0, 2] | 1.0 | 1.0 | 0.90 | 1.10 | 30.0 |" in text
    assert both_tables([row]).count("a_b:1") == 2 and "latents" not in text
    made = replace(row, latents=spread, latents_to_still=0.5, seam=1.25, seam_top=7.0)
    assert "| 1.0 | 1.0 | 1.0 [0, 2] | 0.50 | 0.90 |" in markdown([row, made])
    assert "| 1.0 | 1.0 | - | - | 0.90 |" in markdown([row, made]) and "| 1.25 | 7 | 3 |" in both_tables([made])
    assert r"a\_b:1 & 1 &" in latex([row]) and r"\%]" in latex([row])


def test_a_protocol_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_protocol("sticker").clips = 3  # type: ignore[misc]
    assert isinstance(read_protocol("offline"), Protocol)


def test_older_hashes_stay() -> None:
    """New fields count only where they say something, so results that were measured before can be compared."""
    table = json.loads((Path(__file__).parent.parent.parent / "docs" / "results" / "table.json").read_text())
    assert read_protocol(table["protocol"]["name"]).digest() == table["protocol"]["hash"]
    plain = read_protocol("sticker")
    assert plain.digest() == OLD_HASH
    changes = ({"part": "report"}, {"whole": True}, {"baselines": Baselines(sway_degrees=9)}, {"seeds": "each"})
    assert len({OLD_HASH, *(plain.model_copy(update=c).digest() for c in changes)}) == 5


def test_families_are_halved_for_good(wide_store: Path, tmp_path: Path) -> None:
    order = sorted((f"f{i}" for i in range(9)), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    for i in range(9):
        path = tmp_path / "videos" / f"f{i}" / "v.mp4"
        path.parent.mkdir(parents=True)
        write_clip(torch.zeros(4, 32, 32, 3, dtype=torch.uint8), path, 12)
    for data, each in ((wide_store, 2), (tmp_path / "videos", 1)):
        halves = {}
        for part in ("all", "selection", "report"):
            protocol = read_protocol(written(tmp_path / "part.json", part=part))
            halves[part] = [c.family for c in open_set(data, protocol).clips]
        assert set(halves["selection"]) == set(order[::2]) and set(halves["report"]) == set(order[1::2])
        assert len(halves["selection"]) == 5 * each and len(halves["report"]) == 4 * each
        assert sorted(halves["selection"] + halves["report"]) == sorted(halves["all"])


def test_a_whole_round_is_evenly_spread(wide_store: Path, tmp_path: Path) -> None:
    protocol = read_protocol(written(tmp_path / "whole.json", frames=5, fps=7, whole=True))
    every = read_protocol(written(tmp_path / "every.json", frames=24, fps=24))
    part, full = (open_set(wide_store, p).clips[3].read() for p in (protocol, every))
    assert torch.equal(part, full[[0, 5, 10, 14, 19]])
    assert (
        evenly_around(72, 24) == list(range(0, 72, 3))
        and evenly_around(37, 24)[-1] == 35
        and evenly_around(3, 6) == [0, 1, 1, 2, 2, 0]
    )
    write_clip(full, tmp_path / "v.mp4", 12)
    with pytest.raises(SfvError, match="no clip store .* wants whole rounds"):
        open_set(tmp_path, protocol)


def test_whole_rounds_are_also_measured_backwards(wide_store: Path, loops: VideoModel, tmp_path: Path) -> None:
    whole, part = (
        read_protocol(written(tmp_path / f"{name}.json", frames=5, fps=7, whole=name == "whole"))
        for name in ("whole", "part")
    )
    real = open_set(wide_store, whole)
    rows = {s.name: s for s in baselines(real, whole, None, None)}
    assert list(rows) == ["real clips", "real backwards", "still picture", "sway", "squash"]
    coded = {s.name: s for s in baselines(real, whole, loops, None)}
    assert coded.keys() - rows.keys() == {"codec alone", "backwards, codec"}
    pair = [coded[k].read(2) for k in ("real clips", "backwards, codec")]
    assert pair[0].shape == pair[1].shape and not torch.equal(pair[1], rows["real backwards"].read(2))
    assert torch.equal(rows["real backwards"].read(2), real.clips[2].read()[[0, 4, 3, 2, 1]])
    assert "real backwards" not in [s.name for s in baselines(real, part, None, None)]


def test_loops_are_played_at_the_protocols_rate_or_whole(
    store: Path,
    loops_folder: Path,
    tmp_path: Path,
) -> None:
    """A round of 4 frames at 8 fps is 6 frames at 12; the file keeps the latents of the frames that are measured."""
    at: dict[str, tuple[dict[str, Any], float, list[int]]] = {
        "first": ({}, 12, [0, 1, 2, 3]),
        "longer": ({"frames": 8}, 12, [0, 1, 2, 3, 4, 5, 0, 1]),
        "whole": ({"whole": True, "fps": 8}, 8, [0, 1, 2, 3]),
        "finer": ({"whole": True, "frames": 7, "fps": 9}, 14, list(range(7))),
    }
    model = open_model(str(loops_folder), "cpu", Speed(profile="exact", backend="eager"))
    for name, (changes, rate, places) in at.items():
        protocol = read_protocol(written(tmp_path / "p.json", diversity=0, **changes))
        real = open_set(store, protocol)
        real = replace(real, clips=real.clips[:1])
        one = subject(f"{loops_folder}:1", real, protocol, tmp_path / name, device="cpu", profile="exact")
        want = generate(model, real.clips[0].read()[0], steps=1, play_fps=rate, height=32, width=32)
        assert one.calls == 2 and torch.equal(one.read(0), want.frames[places]), name
        (path,) = (tmp_path / name).glob("*/*.safetensors")
        kept = load_file(path)["latents"]
        assert kept.dtype == torch.float16 and not kept[0].any() and one.latents is not None
        torch.testing.assert_close(kept.float(), want.latents[0, places], atol=2e-3, rtol=2e-3)
        assert torch.equal(one.latents(0), kept)
    with pytest.raises(SfvError, match="at 1 frames a second; 2 to 60 can be made"):
        settings_of(model, protocol.model_copy(update={"fps": 1, "whole": False}), None, None)


def test_every_clip_may_have_noise_of_its_own(store: Path, loops_folder: Path, tmp_path: Path) -> None:
    """By its name, so that it does not depend on what else is measured; moved baselines begin to either side."""
    changes = {"whole": True, "fps": 8, "diversity": 1, "seeds": "each"}
    protocol = read_protocol(written(tmp_path / "each.json", **changes))
    real = open_set(store, protocol)
    ids = [c.id for c in real.clips]
    seeds = [protocol.seed_of(i) for i in ids]
    assert len(set(seeds)) == len(ids) and seeds[0] + 7 == protocol.model_copy(update={"seed": 7}).seed_of(ids[0])
    model = open_model(str(loops_folder), "cpu", Speed(profile="exact", backend="eager"))
    one = subject(f"{loops_folder}:1", real, protocol, tmp_path / "kept", device="cpu", profile="exact")
    for i in (0, 2):
        picture = real.clips[i].read()[0]
        want = generate(model, picture, steps=1, seed=seeds[i], play_fps=8, height=32, width=32)
        assert torch.equal(one.read(i), want.frames)
    ways = [protocol.way(i) for i in ids]
    assert ways == [1 - 2 * (s % 2) for s in seeds]
    made, one_noise = moved("sway", real, protocol, 1), protocol.model_copy(update={"seeds": "one"})
    assert torch.equal(made, sway(real.clips[1].read()[0], protocol, ways[1]))
    assert {one_noise.seed_of(i) for i in ids} == {0} and {one_noise.way(i) for i in ids} == {1}


def test_figures_of_several_takes_are_means_over_them(
    store: Path, loops_folder: Path, weights: Path, tmp_path: Path
) -> None:
    """Every take is what its seed alone gives, and keeps what an evaluation of one take has made."""
    name = written(tmp_path / "takes.json", whole=True, fps=8, seeds="each")
    asked = {"protocol": name, "weights": weights, "out": tmp_path / "out", "device": "cpu"}
    how = EvaluateSettings.model_validate(asked | {"models": (f"{loops_folder}:1",)})
    alone = evaluate(store, how)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "clips").glob("*/*.safetensors")}
    both = evaluate(store, how.model_copy(update={"takes": 2}))
    assert kept and kept == {path: path.stat().st_mtime_ns for path in kept}
    assert both.protocol["takes"] == 2 and both.protocol["hash"] != alone.protocol["hash"]
    before, after = ({r.name: r for r in found.rows} for found in (alone, both))
    row = after.pop("loops:1")
    first = before[row.name].frechet["mean"]["value"]
    assert len(row.by_take) == 2 and row.by_take[0] == pytest.approx(first) and row.by_take[1] != row.by_take[0]
    assert row.frechet["mean"]["value"] == pytest.approx(sum(row.by_take) / 2)
    assert all(after[k].frechet == before[k].frechet and not after[k].by_take for k in after)
    assert row.motion_to_teacher == 1 and "each take" in both.text() and "each take" not in alone.text()
    protocol = read_protocol(name)
    seeds = [protocol.model_copy(update={"seed": s}).seed_of("a") for s in (0, TAKE)]
    assert [protocol.seed_of("a", take) for take in (0, 1)] == seeds


def test_models_of_frames_are_asked_as_before(tiny: VideoModel, tmp_path: Path) -> None:
    asked = settings_of(tiny, read_protocol(written(tmp_path / "p.json")), 2, None)
    assert asked.model_dump(exclude_defaults=True) == {"steps": 2, "fps": 12, "frames": 4, "height": 32, "width": 32}


def test_whole_rounds_of_both_kinds_of_model_end_to_end(
    store: Path,
    how: EvaluateSettings,
    loops_folder: Path,
    tmp_path: Path,
) -> None:
    """Of both, a codec's shares are in the still picture's; the last row's codec stands for those who have none."""
    protocol = written(tmp_path / "whole.json", whole=True, frames=6, fps=8, diversity=0)
    rows = (how.models[0], f"{loops_folder}:1")
    result = evaluate(store, how.model_copy(update={"protocol": protocol, "models": rows}))
    assert [r.name for r in result.rows[-2:]] == ["tiny:2", "loops:1"]
    by = {r.name: r for r in result.rows}
    assert by["still picture"].latents_to_still == 1 and by["codec alone"].latents_to_still == pytest.approx(
        0, abs=1e-9
    )
    assert all(r.latents and r.latents["value"] > 0 for r in result.rows[2:])
    assert 0 < by["codec alone"].psnr_to_real < 99 and by["codec alone"].first_frame_psnr > 10
    assert result.protocol["whole"] and result.as_dict()["pairs"]


@pytest.mark.parametrize("family", ["tiny", "loops"])
def test_no_decoder_hides_a_denoiser(
    family: str,
    tiny: VideoModel,
    loops: VideoModel,
    store: Path,
    how: EvaluateSettings,
) -> None:
    ruler = open_reference(store, how)
    codec: Codec = {"tiny": tiny, "loops": loops}[family].codec
    net = extractor(codec, ruler.real.clips[0].read())

    def of(clip: torch.Tensor) -> torch.Tensor:
        return net.row(clip).unflatten(0, codec.latent_shape(4, 32, 32)).half()

    def read(i: int) -> torch.Tensor:
        return ruler.real.clips[i].read()

    def row(name: str, made: Any) -> Subject:
        return Subject(name, lambda i: read(i) * 0, latents=made, codec=codec)

    rows = [
        Subject("real clips", read),
        Subject("codec alone", lambda i: read(i) // 2),
        Subject("still picture", lambda i: still(read(i))),
        Subject("theirs", lambda i: read(i).flip(0)),
        row("perfect", lambda i: of(read(i))),
        row("dead", lambda i: of(still(read(i)))),
        row("noisy", lambda i: of(read(i)) + 3 * torch.randn(codec.latent_shape(4, 32, 32)).half()),
    ]
    found = latent_distances(rows, ruler)
    shares = {k: v.to_still for k, v in found.items()}
    assert shares["still picture"] == 1 and shares["dead"] == pytest.approx(1, rel=0.02)
    assert shares["real clips"] == shares["codec alone"] == pytest.approx(0, abs=1e-9)
    assert shares["perfect"] == pytest.approx(0, abs=1e-3)
    assert shares["noisy"] and shares["noisy"] > 0.05 and shares["theirs"] and shares["theirs"] > 1e-3
    assert all(v.spread["low"] <= v.spread["value"] <= v.spread["high"] for v in found.values())
    assert latent_distances(rows[:4], ruler) == {}


def test_codecs_of_one_encoder_share_their_latents(tiny: VideoModel, loops: VideoModel) -> None:
    clip = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    for codec, encoder, decoder in ((tiny.codec, "vae.encoder", "vae.decoder"), (loops.codec, "encoder", "decoder")):
        for part, same in ((decoder, True), (encoder, False)):
            other = copy.deepcopy(codec)
            with torch.no_grad():
                for name, p in other.named_parameters():
                    p += 0.1 if name.removeprefix("networks.").startswith(part) else 0
            assert (extractor(other, clip).hash == extractor(codec, clip).hash) == same, part


def test_the_picture_moves_as_one_body_about_its_bottom_centre(tmp_path: Path) -> None:
    """A dot 40 pixels above the pivot goes 40 sin(angle) to one side, then to the other; stretched, it goes up."""
    own = {"sway_degrees": 10, "sway_seconds": 1, "squash_share": 0.1, "squash_seconds": 1}
    protocol = read_protocol(written(tmp_path / "p.json", frames=13, fps=12, height=64, width=96, baselines=own))
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    dot = (-((x - 47.5) ** 2 + (y - 23.5) ** 2) / 8).exp()
    picture = (dot[..., None] * 200).round().to(torch.uint8).expand(-1, -1, 3)

    def places(clip: torch.Tensor) -> torch.Tensor:
        weight = clip[..., 0].double()
        return torch.stack([(weight * v).sum((1, 2)) / weight.sum((1, 2)) for v in (x, y)], -1)

    turned, pressed = sway(picture, protocol), squash(picture, protocol)
    for clip in (turned, pressed):
        assert torch.equal(clip[0], picture) and torch.equal(clip[12], picture) and torch.equal(clip[6], picture)
    side = places(turned)[:, 0] - 47.5
    assert side[3].abs() == pytest.approx(40 * math.sin(math.radians(10)), abs=0.3) and side[9] == pytest.approx(
        -side[3]
    )
    assert places(pressed)[3, 1] == pytest.approx(63.5 - 40 * 0.9, abs=0.3)
    assert places(pressed)[9, 1] == pytest.approx(63.5 - 40 * 1.1, abs=0.3)
    assert places(squash(picture, protocol, -1))[3, 1] == pytest.approx(63.5 - 40 * 1.1, abs=0.3)
    grey = torch.full((64, 96, 3), 77, dtype=torch.uint8)
    assert (sway(grey, protocol) == 77).all() and (squash(grey, protocol) == 77).all()
    ramp = torch.arange(96, dtype=torch.uint8)[None, :, None].expand(64, -1, 3) * 2
    wide = through(ramp, torch.tensor([[[0.5, 0], [0, 1]]], dtype=torch.float64))[0, 0, 8:-8, 0].float()
    assert wide.diff().mean() == pytest.approx(1, abs=0.02)  # twice as wide: half as steep


def test_baselines_close_in_whole_rounds(tmp_path: Path) -> None:
    protocol = read_protocol(written(tmp_path / "p.json", frames=24, fps=8, whole=True))
    for seconds, periods in ((1, 3), (1.5, 2), (2, 2), (3, 1), (50, 1)):
        got, at = wave(protocol, seconds), torch.arange(24).double()
        torch.testing.assert_close(got, (2 * math.pi * periods * at / 24).sin())
    plain = read_protocol(written(tmp_path / "q.json", frames=24, fps=8))
    torch.testing.assert_close(wave(plain, 50), (2 * math.pi * torch.arange(24).double() / 400).sin())


def test_the_protocols_hold_the_baselines_that_were_chosen() -> None:
    docs = Path(__file__).parent.parent.parent / "docs"
    found = json.loads((docs / "results" / "baselines.json").read_text())
    for name in ("sticker", "loops"):
        chosen = found[f"{name}-selection"]
        assert chosen["protocol"]["part"] == "selection"
        for row in ("sway", "squash"):
            best = min(chosen[row], key=lambda r: float(r["distance"]["mean"]))
            assert best["settings"].items() <= chosen["best"].items()
            assert f"| {best['distance']['mean']:.1f} (" in (docs / "measure.md").read_text()
        for part in ("", "-selection", "-report"):
            assert read_protocol(f"{name}{part}").baselines == Baselines(**chosen["best"])
    assert read_protocol("offline").baselines == read_protocol("sticker").baselines


def test_ratios_are_paired_and_say_better_only_if_the_interval_does() -> None:
    g = torch.Generator().manual_seed(0)
    clips = torch.rand(200, generator=g).double() + 1
    draws = {
        "real clips": Resampled(0, 0 * clips),
        "a": Resampled(1.5, clips),
        "b": Resampled(3.0, 2 * clips),
        "c": Resampled(1.5, clips),
    }
    found = {(p.row, p.other): p for p in paired(draws, ["a", "b"], 200)}
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "a"), ("b", "c")}
    assert found["a", "b"].high == pytest.approx(0.5) == found["a", "b"].low  # of one clip each: no spread of its own
    verdicts = {k: p.verdict for k, p in found.items()}
    assert (
        verdicts["a", "b"] == "better" and verdicts["b", "a"] == "worse" and verdicts["a", "c"] == "no difference shown"
    )
    assert Pair("a", "b", 0.9, 0.8, 1.0).verdict == "no difference shown"
    assert paired({k: Resampled(v.value, v.each[:1]) for k, v in draws.items()}, ["a"], 200) == []
    rows = [Pair(m, o, 0.5, 0.4, 0.6) for m in ("first", "middle", "last") for o in ("still picture", "sway")]
    text = Result({}, [read_row()], rows).text()
    assert "middle" not in text and "| last | sway | 0.50 [0.40, 0.60] | better |" in text and RATIOS in text


def test_few_clips_give_no_verdict() -> None:
    """Neither in the table nor in its JSON; what older tables hold, which did not count them, is read as it was."""
    for clips, said in ((19, "too few clips"), (20, "better"), (None, "better")):
        result = Result({"clips": clips}, [read_row()], [Pair("mine:1", "sway", 0.5, 0.4, 0.6, clips)])
        assert f"| mine:1 | sway | 0.50 [0.40, 0.60] | {said} |" in result.text()
        assert result.as_dict()["pairs"][0]["verdict"] == said
    row = replace(read_row(), name="mine:1")
    apart = replace(row, frechet={k: {a: b + 1e6 for a, b in v.items()} for k, v in row.frechet.items()})
    for clips, said in ((19, "(too few clips)"), (20, "(the intervals do not meet)")):
        assert said in against(Result({"clips": clips}, [row]), {"rows": [asdict(apart)]})


def test_tables_say_what_their_intervals_are_and_who_pays_for_coding() -> None:
    plain, coded = read_row(), replace(read_row(), name="theirs", origin={"files": "theirs", "hash": "aa"})
    assert (
        "95 % each, and are not corrected" in Result({}, [plain]).text() and "coding" not in Result({}, [plain]).text()
    )
    assert "Clips of theirs were read from video files" in Result({}, [plain, coded]).text()
    assert r"95 \% each" in latex([plain])


def read_row() -> Measured:
    """One of the committed table."""
    table = json.loads((Path(__file__).parent.parent.parent / "docs" / "results" / "table.json").read_text())
    return Measured(**table["rows"][0])
