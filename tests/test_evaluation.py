"""The ruler from end to end on a tiny store and a tiny folder of videos, and every way to hold it wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import store  # noqa: F401

from sfv.cli import main
from sfv.errors import SfvError
from sfv.evaluation.clipsets import open_set, read_made
from sfv.evaluation.evaluate import evaluate, read_result
from sfv.evaluation.protocol import Protocol, read_protocol, shipped
from sfv.evaluation.ruler import open_ruler
from sfv.evaluation.study import DEGREES, seen_by, study
from sfv.evaluation.study import markdown as study_table
from sfv.evaluation.table import Measured, both_tables, latex, markdown
from sfv.families.base import VideoModel
from sfv.media import write_clip
from sfv.recogniser import RECOGNISER, Recogniser, save_recogniser
from sfv.settings import EvaluateSettings, StudySettings


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


@pytest.fixture
def how(tmp_path: Path, tiny_folder: Path, weights: Path) -> EvaluateSettings:
    """A request that takes seconds."""
    protocol = written(tmp_path / "tiny.json")
    rows = (f"{tiny_folder}:2", f"{tiny_folder}:1")
    return EvaluateSettings(models=rows, protocol=protocol, weights=weights, out=tmp_path / "out", device="cpu")


def digits(result: Any) -> Any:
    """A result without what depends on the clock."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in result.as_dict()["rows"]]


def test_a_report_from_end_to_end(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:  # noqa: F811
    result = evaluate(store, how)
    names = [r.name for r in result.rows]
    assert names == ["real clips", "codec alone", "still picture", "tiny:2", "tiny:1"]
    real, coded, still, two, one = result.rows
    assert real.frechet["mean"]["value"] == 0 and real.motion_to_real == 1 and real.first_frame_psnr == 99
    assert real.psnr_to_real == 99 > coded.psnr_to_real > 0
    assert still.flow < 1e-3 < real.flow and still.frechet["mean"]["value"] > 0
    assert two.calls == 4 and one.calls == 2 and two.seconds and one.unet_seconds and one.seconds > one.unet_seconds
    assert one.diversity and one.diversity > 0 and two.motion_to_teacher == 1
    assert len(one.from_picture) == 4 and real.from_picture[0] == 0 < real.from_picture[3]
    for row in result.rows[1:]:
        assert row.frechet["mean"]["low"] <= row.frechet["mean"]["value"] <= row.frechet["mean"]["high"]
    page = (how.out / "index.html").read_text()
    assert page.count("data:image/webp") >= 5 * 5 and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert read_result(how.out / "table.json")["protocol"]["clips"] == 5
    assert (how.out / "table.tex").read_text().count(r"\\") == 6
    assert len(list((how.out / "pictures").glob("*.png"))) == 5
    key = json.loads((how.out / "blind-key.json").read_text())
    assert len(key) == 5 and all({k["A"], k["B"]} == {"tiny:2", "tiny:1"} for k in key)
    sheet = (how.out / "blind.html").read_text()
    assert sheet.count("data:image/webp") == 10 and "tiny:" not in sheet


def test_the_same_digits_twice_and_by_any_number_of_workers(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:  # noqa: F811
    first = evaluate(store, how)
    for workers, out in ((1, "a"), (3, "b")):
        again = evaluate(store, how.model_copy(update={"workers": workers, "out": tmp_path / out}))
        assert digits(again) == digits(first)


def test_rows_of_real_clips_are_kept_and_a_damaged_file_is_made_anew(
    store: Path,  # noqa: F811
    how: EvaluateSettings,
    tmp_path: Path,
) -> None:
    how = how.model_copy(update={"limit": 4})
    rows = open_ruler(store, how).true["recogniser"]
    kept = sorted((tmp_path / "cache" / "features").iterdir())
    assert len(kept) == 2  # the real clips' and the axes'
    times = [p.stat().st_mtime_ns for p in kept]
    assert torch.equal(open_ruler(store, how).true["recogniser"], rows)
    assert [p.stat().st_mtime_ns for p in kept] == times
    kept[0].write_bytes(b"cut off")
    assert torch.equal(open_ruler(store, how).true["recogniser"], rows)


def test_results_of_other_protocols_are_refused(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:  # noqa: F811
    evaluate(store, how)
    table, out = how.out / "table.json", tmp_path / "other"
    same = evaluate(store, how.model_copy(update={"against": table, "out": out}))
    assert "no difference shown" in (out / "table.md").read_text() and same.rows
    with pytest.raises(SfvError, match="other protocol .* must not be compared"):
        evaluate(store, how.model_copy(update={"against": table, "limit": 4}))
    with pytest.raises(SfvError, match="not a result of `sfv evaluate`"):
        evaluate(store, how.model_copy(update={"against": tmp_path / "tiny.json"}))
    save_recogniser(Recogniser(), Path(str(how.weights)) / RECOGNISER)
    with pytest.raises(SfvError, match="other feature networks"):
        evaluate(store, how.model_copy(update={"against": table}))


def test_clips_made_elsewhere_are_measured_too(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:  # noqa: F811
    protocol = read_protocol(how.protocol)
    real, folder = open_set(store, protocol), tmp_path / "theirs"
    folder.mkdir()
    for clip in real.clips:
        write_clip(clip.read(), folder / f"{clip.id}.mp4", 12)
    theirs = how.model_copy(update={"models": (str(folder),), "out": tmp_path / "out2"})
    row = evaluate(store, theirs).rows[-1]
    assert row.name == "theirs" and row.seconds is None and row.first_frame_psnr > 30
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
    store: Path,  # noqa: F811
    how: EvaluateSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    protocol = written(tmp_path / "bad.json", **changes)
    flags = ["--models", "sticker:1", "--protocol", protocol, "--weights", str(how.weights)]
    assert main(["evaluate", str(store), *flags, "--out", str(tmp_path / "o")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("sfv: ") and why in said


def test_data_is_named_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    for flags in ([], [str(store), "--data", str(store)]):
        assert main(["evaluate", *flags, "--models", "sticker:1"]) == 2
        assert "--data: name one clip store" in capsys.readouterr().err


def test_protocols_ship_and_their_hash_is_their_content() -> None:
    assert {"sticker", "offline", "ucf101"} <= set(shipped())
    a = read_protocol("sticker")
    assert a.digest() == read_protocol("sticker").digest() != read_protocol("sticker", 20).digest()
    assert a.digest() != a.model_copy(update={"bootstrap": 5}).digest()
    with pytest.raises(SfvError, match="'fvd' is unknown; use offline, sticker, ucf101 or a JSON file"):
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
    assert [r.name for r in rows] == ["real clips", "still picture", "tiny:1"]
    assert rows[2].calls == 2 and rows[2].diversity is None


def test_study_tells_who_sees_what(store: Path, how: EvaluateSettings, tmp_path: Path) -> None:  # noqa: F811
    text = study(store, StudySettings(protocol=how.protocol, weights=how.weights, out=tmp_path / "study"))
    found = json.loads((tmp_path / "study" / "study.json").read_text())
    noise = found["distance"]["recogniser"]["noise"]
    assert len(noise) == 1 + len(DEGREES) and noise[0] == 0 and noise == sorted(noise)
    assert "recogniser" in found["seen_by"]["noise"] and "| noise | " in text
    assert (tmp_path / "study" / "study.svg").read_text().count("<polyline") == 8


def test_seen_means_rising_at_every_degree() -> None:
    up, dip = [0.0, 1, 2, 3, 4], [0.0, 1, 3, 2, 4]
    from sfv.faults import FAULTS

    table = {"a": dict.fromkeys(FAULTS, up), "b": dict.fromkeys(FAULTS, dip)}
    assert seen_by(table) == {f: ["a"] for f in FAULTS}


def test_the_study_in_the_docs_is_the_committed_one_and_every_fault_is_seen() -> None:
    docs = Path(__file__).parent.parent / "docs"
    found = json.loads((docs / "study.json").read_text())
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
    assert both_tables([row]).count("a_b:1") == 2
    assert r"a\_b:1 & 1 &" in latex([row]) and r"\%]" in latex([row])


def test_a_protocol_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_protocol("sticker").clips = 3  # type: ignore[misc]
    assert isinstance(read_protocol("offline"), Protocol)
