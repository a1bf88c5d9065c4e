"""What clips are called: no two pictures one clip, and no file that sfv did not write is replaced."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sfv.batch.naming import LONGEST, expand, left_out, name_outputs, plan, source
from sfv.batch.platform_names import plan_for
from sfv.batch.seed_names import plan_seeds
from sfv.errors import SfvError
from sfv.media import is_ours, write_clip
from sfv.settings import Settings

NOTE = '{"sfv": "0.1.0", "settings": {}}'


def png(path: Path) -> Path:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def ours(path: Path, note: str = NOTE) -> Path:
    write_clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), path, 8, note)
    return path


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_own_files_are_known_by_what_is_inside(tmp_path: Path, ending: str) -> None:
    assert is_ours(ours(tmp_path / f"clip.{ending}"))
    write_clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), tmp_path / f"other.{ending}", 8, "a holiday")
    assert not is_ours(tmp_path / f"other.{ending}")
    (tmp_path / f"broken.{ending}").write_bytes((tmp_path / f"clip.{ending}").read_bytes()[:40])
    (tmp_path / f"empty.{ending}").touch()
    assert not is_ours(tmp_path / f"broken.{ending}") and not is_ours(tmp_path / f"empty.{ending}")


def test_a_video_beside_its_picture_is_kept(tmp_path: Path) -> None:
    """A phone's motion photo: IMG_0001.png beside IMG_0001.mp4."""
    picture, film = png(tmp_path / "IMG_0001.png"), tmp_path / "IMG_0001.mp4"
    film.write_bytes(b"a film")
    assert name_outputs([picture], None, None) == [tmp_path / "IMG_0001-2.mp4"]
    assert name_outputs([picture], None, None, overwrite=True) == [film]
    ours(tmp_path / "IMG_0001-2.mp4")
    assert name_outputs([picture], None, None) == [tmp_path / "IMG_0001-2.mp4"]
    with pytest.raises(SfvError, match="was not written by sfv; choose another --out, or give --overwrite"):
        name_outputs([picture], film, None)
    assert name_outputs([picture], film, None, overwrite=True) == [film]


def test_own_clips_in_a_folder_are_no_sources(tmp_path: Path) -> None:
    """`--resume --format webp` in the pictures' own folder, twice."""
    png(tmp_path / "a.png")
    png(tmp_path / "b.png")
    for _ in range(2):
        pairs = plan([tmp_path], Settings(), format="webp")
        assert [t.name for _, t in pairs] == ["a.webp", "b.webp"]
        for _, target in pairs:
            ours(target)


def test_what_only_looks_like_a_picture_is_left_out(tmp_path: Path) -> None:
    png(tmp_path / "cat.png")
    (tmp_path / "._cat.png").write_bytes(b"a resource fork")
    (tmp_path / "folder.png").mkdir()
    assert expand([tmp_path]) == [tmp_path / "cat.png"]


def test_names_that_some_systems_take_for_one_are_told_apart(tmp_path: Path) -> None:
    pictures = [tmp_path / "in" / n for n in ("Cat.png", "cat.png", "CAT.jpg")]
    assert [t.name for t in name_outputs(pictures, tmp_path, None)] == ["Cat.mp4", "cat-2.mp4", "CAT-3.mp4"]


def test_pictures_of_one_name_keep_their_clips_in_later_runs(tmp_path: Path) -> None:
    """Alone, in the other order, and once more together: a clip is never replaced by that of another picture."""
    out, pictures = tmp_path / "out", []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pictures.append(png(tmp_path / folder / "cat.png"))
    out.mkdir()
    first, second = out / "cat.mp4", out / "cat-2.mp4"
    for run in (pictures[:1], pictures[1:], pictures[::-1], pictures):
        for picture, target in zip(run, name_outputs(run, out, None), strict=True):
            assert target == (first if picture == pictures[0] else second)
            ours(target, json.dumps({"sfv": "0.1.0", "source": source(picture, target)}))
    assert name_outputs(pictures[1:], out, None, overwrite=True) == [first]
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("a", "b", "out"):
        (tmp_path / name).rename(moved / name)
    pairs = plan([moved / "b" / "cat.png"], Settings(), moved / "out")
    assert pairs[0][1] == moved / "out" / "cat-2.mp4", "folders that move together"


def test_the_longest_names(tmp_path: Path) -> None:
    """A stem of 250 bytes has a clip, and so has its neighbour of another ending; both can be written."""
    stem = "é" * 125
    targets = name_outputs([tmp_path / f"{stem}.png", tmp_path / f"{stem}.jpg"], None, "webp")
    assert len(set(targets)) == 2 and all(len(os.fsencode(t.name)) <= LONGEST for t in targets)
    for target in targets:
        assert is_ours(ours(target))
    assert not list(tmp_path.glob(".sfv-*"))


STEMS = st.text(st.sampled_from("abAB-2é."), min_size=1, max_size=4).filter(lambda s: s.strip("."))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(STEMS, st.sampled_from(["png", "jpg", "webp"])), min_size=1, max_size=6, unique=True),
    st.lists(STEMS, max_size=4),
)
def test_no_two_pictures_one_clip_and_nothing_is_replaced(pictures: list[tuple[str, str]], there: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem in there:
            (folder / f"{stem}.mp4").write_bytes(b"somebody else's")
        targets = name_outputs([folder / f"{s}.{e}" for s, e in pictures], None, "mp4")
        assert len({str(t).lower() for t in targets}) == len(pictures)
        assert not any(t.exists() for t in targets)


def test_a_link_to_nothing_is_kept(tmp_path: Path) -> None:
    os.symlink("nowhere.mp4", tmp_path / "a.mp4")
    assert name_outputs([png(tmp_path / "a.png")], None, None) == [tmp_path / "a-2.mp4"]


def test_a_source_is_never_a_target(tmp_path: Path) -> None:
    """A folder of PNGs becomes PNGs beside them; one that is named twice is refused."""
    for name in ("a.png", "a-2.png", "b.png"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    pictures = expand([tmp_path])
    targets = name_outputs(pictures, None, "png", overwrite=True)
    assert {t.name for t in targets} == {"a-3.png", "a-2-2.png", "b-2.png"}
    with pytest.raises(SfvError, match="is a source picture and would be overwritten"):
        name_outputs([tmp_path / "a.png"], tmp_path / "a.png", None, overwrite=True)


def test_drawings_alone_need_their_reader_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logo.svg").write_text("<svg/>")
    assert expand([tmp_path / "logo.svg"]) == [tmp_path / "logo.svg"]
    monkeypatch.setattr("sfv.media.drawings.can_draw", lambda: False)
    with pytest.raises(
        SfvError, match=r'logo.svg is an SVG drawing, which needs resvg; .*pip install "sfv\[pictures\]"'
    ):
        expand([tmp_path])
    png(tmp_path / "a.png")
    assert [p.name for p in expand([tmp_path])] == ["a.png", "logo.svg"], "one bad file ends no batch"


def test_of_several_files_those_that_sfv_wrote_are_left_out(tmp_path: Path) -> None:
    """`sfv generate *.png` after `--seeds`, whose sheet is a png."""
    cat, sheet = png(tmp_path / "cat.png"), ours(tmp_path / "cat-seeds.png")
    assert expand([cat, sheet]) == [cat] and expand([sheet]) == [sheet]
    assert left_out([cat, sheet]) == [f"left out {sheet} (clips or sheets of sfv)"] and left_out([sheet]) == []
    with pytest.raises(SfvError, match="cat-seeds.png and what follows it are clips or sheets of sfv; name one alone"):
        expand([sheet, ours(tmp_path / "b.webp")])


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    ours(tmp_path / "a.webp")
    for name in ("notes.txt", "logo.eps", "film.mov", ".DS_Store", "._a.png"):
        (tmp_path / name).write_text("x")
    (line,) = left_out([tmp_path, tmp_path / "a.png"])
    assert line == (
        f"{tmp_path}: left out a.webp (a clip or sheet of sfv), film.mov (a video), logo.eps (no picture), "
        "notes.txt (no picture)"
    )
    for i in range(30):
        (tmp_path / f"z{i:02}.txt").touch()
    assert left_out([tmp_path])[0].endswith("z15.txt (no picture), 14 more")
    assert left_out([tmp_path / "a.png"]) == []


def test_files_are_called_as_the_template_says(tmp_path: Path) -> None:
    """Of one seed, of several, and of platforms; pictures of one name stay apart."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        png(tmp_path / folder / "cat.png")
    both, out = [tmp_path / "a", tmp_path / "b"], tmp_path / "out"
    named = [t.name for _, t in plan(both, Settings(seed=7), out, "gif", name="new-{stem}-{seed}")]
    assert named == ["new-cat-7.gif", "new-cat-7-2.gif"]
    (_, clips, sheet), *_ = plan_seeds(both[:1], Settings(), [1, 3], out, "gif", False, "{seed}{stem}")
    assert [c.name for c in clips] == ["1cat.gif", "3cat.gif"] and sheet.name == "seedscat.png"
    _, files = plan_for(both[:1], Settings(seed=2), ["slack", "signal"], out, False, "{platform}-{stem}-{seed}")
    assert [files[p][0].name for p in files] == ["slack-cat-2.gif", "signal-cat-2.png"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{stem}-{sed}", r"\{sed\} is not known; use \{stem\} and \{seed\}"),
        ("{stem", r"\{ is not known"),
        ("../{stem}", "without folders"),
        ("", "no file's name"),
        (".{stem}", "no file's name"),
        ("{stem}.mp4", "leave .mp4 out"),
        ("{platform}", r"\{platform\} is not known"),
    ],
)
def test_what_is_no_template_is_said(tmp_path: Path, name: str, why: str) -> None:
    png(tmp_path / "cat.png")
    with pytest.raises(SfvError, match=f"--name .*{why}"):
        plan([tmp_path / "cat.png"], Settings(), name=name)


def test_a_template_must_keep_files_apart(tmp_path: Path) -> None:
    pictures = [png(tmp_path / "cat.png")]
    with pytest.raises(SfvError, match=r"--seeds makes 2 clips of a picture; put \{seed\} into it"):
        plan_seeds(pictures, Settings(), [1, 2], None, None, False, "{stem}")
    with pytest.raises(SfvError, match=r"--for names 2 platforms; put \{platform\} into it"):
        plan_for(pictures, Settings(), ["slack", "signal"], None, False, "{stem}")
    with pytest.raises(SfvError, match="--name x goes without --out .*, which names the file"):
        plan(pictures, Settings(), tmp_path / "y.mp4", name="x")


def test_names_that_no_file_can_have_are_said(tmp_path: Path) -> None:
    """None is a traceback, and none ends the work on other pictures."""
    picture, long = png(tmp_path / "cat.png"), "x" * 300
    assert expand([picture, tmp_path / f"{long}.png"]) == [picture, tmp_path / f"{long}.png"]
    with pytest.raises(SfvError, match="does not exist, or may not be seen; check the path"):
        expand([tmp_path / f"{long}.png"])
    for out in (tmp_path / f"{long}.mp4", tmp_path / long):
        with pytest.raises(SfvError, match="--out .*the name is longer|cannot be written"):
            plan([picture], Settings(), out)
    assert len(os.fsencode(plan([picture], Settings(), name=long)[0][1].name)) == LONGEST


def test_links_to_nothing_and_pipes_are_said(tmp_path: Path) -> None:
    png(tmp_path / "cat.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert expand([tmp_path]) == [tmp_path / "cat.png"]
    assert left_out([tmp_path]) == [f"{tmp_path}: left out gone.png (a link to nothing), pipe.png (no file)"]


def test_a_folder_that_may_not_be_listed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(SfvError, match="cannot be listed .Permission denied.; ask for the right to read it"):
        expand([tmp_path])
