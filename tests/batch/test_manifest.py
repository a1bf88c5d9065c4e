"""Resuming: what is done and whole is left alone, and everything else is made again."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfv.batch.animate import digest
from sfv.batch.manifest import Manifest
from sfv.batch.mask_file import MaskFile
from sfv.batch.naming import name_outputs
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.settings import Settings, Speed


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (24, 40, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


def run(*args: object) -> int:
    return main([str(a) for a in args])


def times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.webp")}


def test_resume_makes_what_is_missing_changed_or_cut_short(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = pictures(tmp_path / "in", 5), tmp_path / "out"
    (folder / "4.png").write_bytes(b"not a picture")
    same = ("generate", folder, "-o", out, "--model", tiny_folder, "--steps", 1, "--format", "webp", "--resume")
    assert run(*same) == 1
    assert "4 made, 1 failed\n" in capsys.readouterr().out
    first = times(out)
    whole = {p.name: p.read_bytes() for p in out.glob("*.webp")}
    assert len(first) == 4
    assert run(*same) == 1  # the bad one is tried again, nothing else
    assert "0 made, 1 failed, 4 there already\n" in capsys.readouterr().out
    assert times(out) == first
    (out / "0.webp").write_bytes(whole["0.webp"][:100])
    (out / "1.webp").unlink()
    os.utime(folder / "2.png", ns=(1, 1))
    pictures(tmp_path / "other", 5)
    (tmp_path / "other" / "0.png").replace(folder / "4.png")
    assert run(*same) == 0
    assert "4 made, 0 failed" in capsys.readouterr().out
    assert [n for n, t in times(out).items() if first.get(n) == t] == ["3.webp"]
    assert {n: (out / n).read_bytes() for n in whole} == whole
    assert run(*same) == 0
    assert "0 made, 0 failed" in capsys.readouterr().out
    assert run(*same, "--seed", 1) == 0, "other settings, other clips"
    assert "5 made" in capsys.readouterr().out


def rgba(folder: Path, count: int) -> Path:
    """Discs on nothing."""
    folder.mkdir()
    y, x = np.mgrid[0:32, 0:32]
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 4), np.uint8)
        pixels[..., 3] = 255 * ((y - 16) ** 2 + (x - 16) ** 2 < 100)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def held(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file but the manifest: when it was written, and its bytes."""
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir() if p.suffix != ".jsonl"}


CLEAR = pytest.mark.weights  # the small models of the tests cannot cut out


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (("--format", "webp"), ["0.webp", "1.webp"]),
        (("--format", "gif"), ["0.gif", "1.gif"]),
        (("--format", "png"), ["0-2.png", "1-2.png"]),
        (("--format", "mp4"), ["0.mp4", "1.mp4"]),
        pytest.param(("--transparent",), ["0.webp", "1.webp"], marks=CLEAR),
        pytest.param(("--transparent", "--format", "gif"), ["0.gif", "1.gif"], marks=CLEAR),
        pytest.param(("--transparent", "--format", "png"), ["0-2.png", "1-2.png"], marks=CLEAR),
    ],
)
def test_clips_beside_their_pictures_are_known_and_left_alone(
    tiny_folder: Path, tmp_path: Path, flags: tuple[str, ...], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`sfv generate FOLDER --resume` twice, without --out; then once without --resume."""
    folder = rgba(tmp_path / "in", 2)
    sources = held(folder)
    model = "sticker" if "--transparent" in flags else tiny_folder
    same = ("generate", folder, "--model", model, "--steps", 1, *flags)
    assert run(*same, "--resume") == 0
    first = held(folder)
    assert sorted(first) == sorted([*sources, *names]) and sources.items() <= first.items()
    capsys.readouterr()
    assert run(*same, "--resume") == 0
    assert "0 made, 0 failed, 2 there already\n" in capsys.readouterr().out and held(folder) == first
    assert run(*same) == 0
    again = held(folder)
    assert {n: data for n, (_, data) in again.items()} == {n: data for n, (_, data) in first.items()}
    assert sources.items() <= again.items() and all(again[n][0] > first[n][0] for n in names), "made again, not copied"


def test_another_format_makes_other_clips_of_the_same_pictures(tiny_folder: Path, tmp_path: Path) -> None:
    """In the pictures' own folder, and back: no clip is taken for a picture, and none is made twice."""
    folder = rgba(tmp_path / "in", 2)
    there = held(folder)
    same = ("generate", folder, "--model", tiny_folder, "--steps", 1, "--resume", "--format")
    for format, new in (("webp", {"0.webp", "1.webp"}), ("png", {"0-2.png", "1-2.png"}), ("gif", {"0.gif", "1.gif"})):
        assert run(*same, format) == 0
        now = held(folder)
        assert set(now) == set(there) | new and there.items() <= now.items()
        there = now
    for format in ("webp", "png", "gif"):
        assert run(*same, format) == 0
    assert held(folder) == there


def test_somebody_elses_animation_among_the_pictures_is_one_of_them(tiny_folder: Path, tmp_path: Path) -> None:
    """A webp that sfv did not write is a picture, kept as it is; its clip takes another name, both times."""
    folder = rgba(tmp_path / "in", 1)
    Image.open(folder / "0.png").save(folder / "theirs.webp", lossless=True)
    before = held(folder)
    for _ in range(2):
        assert run("generate", folder, "--model", tiny_folder, "--steps", 1, "--resume", "--format", "webp") == 0
        assert set(held(folder)) == {"0.png", "theirs.webp", "0.webp", "theirs-2.webp"}
        assert before.items() <= held(folder).items()


def test_without_resume_no_manifest_is_kept(tiny_folder: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 2)
    assert run("generate", folder, "-o", tmp_path / "out", "--model", tiny_folder, "--steps", 1) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.mp4", "1.mp4"]


def test_a_manifest_cut_short_goes_on(tmp_path: Path) -> None:
    picture, clip = tmp_path / "a.png", tmp_path / "a.mp4"
    picture.write_bytes(b"p")
    clip.write_bytes(b"clip")
    report = {"image": str(picture), "out": str(clip), "seconds": {"load": 9.0, "unet": 0.5, "write": 0.25}}
    Manifest(tmp_path, "x").add(report)
    path = tmp_path / "manifest.jsonl"
    path.write_text(path.read_text() + '{"image": "b.png", "ou')
    book = Manifest(tmp_path, "x")
    assert book.holds(picture, clip) and not Manifest(tmp_path, "y").holds(picture, clip)
    book.add({"image": str(tmp_path / "c.png"), "error": "bad"})
    lines = path.read_text().splitlines()
    assert json.loads(lines[0])["seconds"] == 0.75 and json.loads(lines[0])["out"] == "a.mp4"
    assert json.loads(lines[2]) == {"image": "c.png", "digest": "x", "error": "bad"}
    assert Manifest(tmp_path, "x").holds(picture, clip)


def test_a_manifest_goes_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    picture, clip = tmp_path / "one" / "a.png", tmp_path / "one" / "a.mp4"
    picture.write_bytes(b"p")
    clip.write_bytes(b"clip")
    Manifest(tmp_path / "one", "x").add({"image": str(picture), "out": str(clip), "seconds": {}})
    (tmp_path / "one").rename(tmp_path / "two")
    assert Manifest(tmp_path / "two", "x").holds(tmp_path / "two" / "a.png", tmp_path / "two" / "a.mp4")


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SfvError, match=r"manifest.jsonl cannot be read .*; move it away"):
        Manifest(tmp_path, "x")
    (tmp_path / "manifest.jsonl").unlink()
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(SfvError, match="cannot be read"):
        Manifest(tmp_path, "x")


def test_the_digest_is_of_all_that_decides_a_clip(tiny_folder: Path, tmp_path: Path) -> None:
    model, mask = str(tiny_folder), MaskFile(tmp_path / "mask.png")
    mask.path.write_bytes(b"white here")
    plain = digest(model, Settings())
    assert plain == digest(model, Settings(), Speed())
    others = {
        digest(model, Settings(seed=1)),
        digest(model, Settings(), Speed(profile="exact")),
        digest("sticker", Settings()),
        digest(model, Settings(), None, mask),
        digest(model, Settings(), None, mask._replace(moves=True)),
    }
    assert len({plain, *others}) == 6


def test_names_of_very_many_pictures_are_made_in_time(tmp_path: Path) -> None:
    """Two of each name; a list that is searched for every name would take many minutes."""
    given = [tmp_path / f"{i}.{kind}" for i in range(20_000) for kind in ("png", "jpg")]
    targets = name_outputs(given, tmp_path / "out", "mp4")
    assert len(set(targets)) == 40_000 and targets[:2] == [tmp_path / "out" / "0.mp4", tmp_path / "out" / "0-2.mp4"]


def test_lines_with_holes_are_passed_over(tmp_path: Path) -> None:
    lines = [{"digest": "d", "out": "a.mp4"}, {"digest": "d", "out": ["a"]}, {"image": "a.png", "digest": "d"}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = [(tmp_path / "a.png", tmp_path / "a.mp4")]
    assert Manifest(tmp_path, "d").left(pairs) == pairs


@pytest.mark.parametrize("text", ['{"mine": 1}\n', "my list of goods", "1\n2\n"])
def test_a_list_of_somebody_elses_is_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(text)
    with pytest.raises(SfvError, match="was not written by sfv; move it, or choose another --out"):
        Manifest(tmp_path, "0" * 16)
    assert (tmp_path / "manifest.jsonl").read_text() == text


def test_a_first_line_that_was_cut_short_is_ours(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"image": "b.png", "ou')
    assert Manifest(tmp_path, "0" * 16).done == {}
