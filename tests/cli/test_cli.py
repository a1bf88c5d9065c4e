"""The command line as a person meets it: outputs, messages, exit codes."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from sfv.batch import clip_file
from sfv.batch.compare import COMPARISON, file_names
from sfv.cli.flags import say
from sfv.cli.main import entry, main
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.families.svd.autoencoder import Autoencoder
from sfv.media import read_clip, read_note
from sfv.system.files import replacing
from sfv.system.threads import SPINS


def png(path: Path, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 40, 3), np.uint8)).save(path)
    return path


def run(*args: object) -> int:
    return main([str(a) for a in args])


def test_a_picture_becomes_a_clip(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "cat.mp4"
    assert run("generate", png(tmp_path / "cat.png"), "-o", out, "--model", tiny_folder, "--steps", 1, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["out"] == str(out) and report["calls"] == 2
    assert {"load", "read", "encode", "unet", "decode", "write"} == set(report["seconds"])
    assert read_clip(out).shape == (4, 32, 32, 3)
    note = json.loads(read_note(out))
    assert note["settings"]["steps"] == 1 and note["hash"] == report["hash"]


@pytest.mark.parametrize(
    ("format", "fps", "count", "said"),
    [
        ("gif", 60, 5, "a gif shows 50 frames a second at most: 5 of 6"),
        ("gif", 50, 6, ""),
        ("webp", 60, 6, ""),
        ("png", 60, 6, ""),
        ("mp4", 60, 6, ""),
    ],
)
def test_what_a_format_cannot_show_is_said(
    tiny_folder: Path, tmp_path: Path, format: str, fps: int, count: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Browsers show a gif's frame of less than 20 ms for 100."""
    flags = ("--model", tiny_folder, "--steps", 1, "--frames", 6, "--fps", fps, "--format", format)
    assert run("generate", png(tmp_path / "cat.png"), *flags, "-o", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines if "at most" in line] == [said][: len(said)]
    assert len(read_clip(tmp_path / "out" / f"cat.{format}")) == count


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_replay_makes_the_same_frames(tiny_folder: Path, tmp_path: Path, ending: str) -> None:
    first, again = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    assert (
        run(
            "generate",
            png(tmp_path / "x.png"),
            "-o",
            first,
            "--model",
            tiny_folder,
            "--steps",
            2,
            "--seed",
            9,
        )
        == 0
    )
    assert run("replay", first, "-o", again) == 0
    assert torch.equal(read_clip(first), read_clip(again))


def test_replay_refuses_other_weights(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    assert run("generate", png(tmp_path / "x.png"), "-o", tmp_path / "a.mp4", "--model", folder, "--steps", 1) == 0
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v + 0.01 for k, v in load_file(path).items()}, path, {"format": "pt"})
    assert run("replay", tmp_path / "a.mp4") == 1
    assert "--model" in capsys.readouterr().err


def test_a_clip_whose_embedded_model_is_gone_says_so(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note that names other weights of the embedded model, and a decoder that only they had."""
    made = tmp_path / "a.png"
    assert run("generate", png(tmp_path / "x.png"), "-o", made, "--model", tiny_folder, "--steps", 1) == 0
    kept = json.loads(read_note(made)) | {"model": "sticker", "hash": "0123456789abcdef", "sfv": "0.1.0"}
    kept["settings"] |= {"decoder": "small", "noise_aug": 0.02}
    monkeypatch.setattr("sfv.batch.replay.read_note", lambda file: json.dumps(kept))
    assert run("replay", made) == 1
    said = capsys.readouterr().err
    assert "0123456789abcdef, which sfv 0.1.0 had and this version no longer has" in said and "--model" in said
    assert run("replay", made, "--model", tiny_folder, "-o", tmp_path / "b.png") == 0


def test_one_bad_file_does_not_stop_the_others(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        png(folder / f"{i}.png", i)
    (folder / "1.png").write_bytes(b"not a picture")
    assert (
        run(
            "generate",
            folder,
            "-o",
            tmp_path / "out",
            "--model",
            tiny_folder,
            "--steps",
            1,
            "--format",
            "gif",
        )
        == 1
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.gif", "2.gif"]
    assert "1.png" in capsys.readouterr().err


def test_a_batch_equals_its_parts(tiny_folder: Path, tmp_path: Path) -> None:
    a, b = png(tmp_path / "a.png", 1), png(tmp_path / "b.png", 2)
    common = ("--model", tiny_folder, "--steps", 1, "--seed", 4, "--format", "png")
    assert run("generate", a, b, "-o", tmp_path / "both", *common) == 0
    assert run("generate", b, "-o", tmp_path / "alone", *common) == 0
    assert torch.equal(read_clip(tmp_path / "both" / "b.png"), read_clip(tmp_path / "alone" / "b.png"))


BAD: list[tuple[list[str], str]] = [
    (["generate"], "no pictures given"),
    (["generate", "nowhere.png", "--model", "TINY"], "does not exist"),
    (["generate", "EMPTY"], "holds no pictures"),
    (["generate", "PNG", "--model", "martian"], "neither a folder"),
    (["generate", "PNG", "--format", "gif", "-o", "x.mp4"], "contradicts"),
    (["generate", "PNG", "PNG", "-o", "one.mp4"], "names one file"),
    (["generate", "PNG", "-o", "PNG/sub"], "cannot be written"),
    (["generate", "PNG", "--model", "TINY", "--height", "33"], "multiples of 2"),
    (["generate", "PNG", "--model", "TINY", "--device", "cuda:99"], "cannot be used"),
    (["replay", "nowhere.mp4"], "does not exist"),
    (["evaluate", "EMPTY"], "not a clip store"),
    (["pack", "EMPTY", "OUT"], "does not hold index.json"),
    (["train", "codec", "EMPTY", "OUT"], "not a clip store"),
    (["train", "spoon", "EMPTY", "OUT"], "part 'spoon' is unknown"),
    (["train", "codec", "EMPTY", "OUT", "--preset", "x"], "preset 'x' is unknown"),
    (["train", "teacher", "EMPTY", "OUT", "--set", "speed=3"], "--set speed"),
    (["train", "codec", "EMPTY", "OUT", "--set", "7.lr=3"], "--set 7.lr: codec has stages 0 to 1"),
    (["bench", "missing.png"], "missing.png does not exist"),
]


@pytest.mark.parametrize(("args", "says"), BAD, ids=[s for _, s in BAD])
def test_bad_input_is_one_sentence_and_exit_one(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    names = {
        "TINY": tiny_folder,
        "EMPTY": tmp_path / "empty",
        "PNG": png(tmp_path / "p.png"),
        "OUT": tmp_path / "o",
    }
    full = [a.replace(k, str(v)) for a in args for k, v in names.items() if k in a or not any(n in a for n in names)]
    full = (
        list(dict.fromkeys(full))
        if args.count("PNG") < 2
        else ["generate", str(names["PNG"]), str(names["PNG"]), "-o", "one.mp4"]
    )
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(*full) == 1
    err = re.split(r"[\r\n]", capsys.readouterr().err.strip())[-1]
    assert err.startswith("sfv: ") and says in err
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "o") == before


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """`sfv --help | head -1`."""
    command = [sys.executable, "-m", "sfv", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None and started.stderr is not None
        started.stdout.close()
        assert (started.stderr.read(), started.wait()) == ("", 141)


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--frames", "1"], ["--seed", "-1"], ["--motion", "nan"]])
def test_values_out_of_range_exit_two(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    assert run("generate", png(tmp_path / "p.png"), *flags) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"sfv: {flags[0]} {flags[1]}: input should be") and err.count("\n") == 1


def test_a_clips_line_says_what_the_picture_decided(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"out": "a.mp4", "calls": 1, "seconds": {"unet": 0.1}, "speed": None}
    say(asked | {"settings": {"move": "free", "stiff": "on"}}, False)
    say(asked | {"settings": {"move": "blink", "stiff": "off"}, "calls": 25}, False)
    assert capsys.readouterr().out.splitlines() == [
        "a.mp4: 1 network call, as one body; unet 0.100 s",
        "a.mp4: 25 network calls, move blink; unet 0.100 s",
    ]


def test_one_failure_of_many_names_its_picture(capsys: pytest.CaptureFixture[str]) -> None:
    for clips in (1, 2):
        say({"image": "there/a.png", "error": "move blink: no eyes"}, False, clips=clips)
        say({"image": "there/a.png", "error": "there/a.png is no picture"}, False, clips=clips)
    one, two, three, four = capsys.readouterr().err.splitlines()
    assert (one, three) == ("sfv: move blink: no eyes", "sfv: a.png: move blink: no eyes")
    assert two == four == "sfv: there/a.png is no picture"


def test_contradicting_flags_are_told_without_the_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", png(tmp_path / "p.png"), "--transparent", "--background", "red") == 2
    assert capsys.readouterr().err == ("sfv: background red and transparent contradict each other; give one of them\n")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--help"], ""),
        (["generate", "nope.png"], "nope.png does not exist"),
        (["generate", "p.png", "--background", "nocolour"], "'nocolour' is not a colour"),
        (["generate", "p.png", "-o", "x.avi"], ".avi cannot be written; use one of mp4"),
        (["generate", "p.png", "--steps", "0"], "--steps 0"),
    ],
)
def test_what_is_wrong_is_said_before_torch_is_imported(tmp_path: Path, words: list[str], said: str) -> None:
    png(tmp_path / "p.png")
    code = (
        "import sys; from sfv.cli.main import main\n"
        f"try: code = main({words!r})\nexcept SystemExit: code = 0\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert bool(done.returncode) == bool(said) and said in done.stderr and "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.png"]


def test_threads_sleep_soon_unless_the_user_chose_otherwise() -> None:
    code = "import os; from sfv.cli.main import main; main(['generate', 'nope.png']); print(os.environ.get('{}'))"
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    for given, expected in (({}, SPINS), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")):
        command = [sys.executable, "-c", code.format("GOMP_SPINCOUNT")]
        assert subprocess.check_output(command, env=clean | given, text=True, stderr=-3).strip() == expected


def test_compare_writes_clips_and_a_side_by_side(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("compare", png(tmp_path / "p.png"), "-o", tmp_path / "out", "--models", tiny_folder, tiny_folder)
    assert run(*args, "--steps", 2) == 0
    assert {"side-by-side.mp4", "side-by-side.webp", "frames.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "network call" in capsys.readouterr().out
    clips = {f"{tiny_folder.name}.mp4", f"{tiny_folder.name}-2.mp4"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == clips | set(COMPARISON)


def test_models_of_other_lengths_and_sizes_are_compared(tiny_folder: Path, tmp_path: Path) -> None:
    """4 frames of 32 x 32, 12 a second, beside a loop of 38 x 64, 8 a second: half a second at 12 are 6 frames."""
    loops = tmp_path / "loops"
    motion_folder.save(new_motion_model(TINY_MOTION, 0), loops)
    for models in ((tiny_folder, loops), (loops, tiny_folder)):
        flags = ("-o", tmp_path / "out", "--steps", 1)
        assert run("compare", png(tmp_path / "p.png"), *flags, "--models", *models) == 0
        one, other, row = (
            read_clip(tmp_path / "out" / f"{n}.mp4") for n in (tiny_folder.name, "loops", "side-by-side")
        )
        assert (one.shape[1], other.shape[1], row.shape[1], len(row)) == (32, 38, 2 * 38 + 22, 6)


def test_names_of_compared_models_are_numbered() -> None:
    names = ["sticker", "old/sticker", "Sticker", "sticker-2", "side-by-side", "."]
    assert file_names(names) == ["sticker", "sticker-2", "Sticker-3", "sticker-2-2", "side-by-side-2", "model"]


def test_set_may_be_given_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each adds to the ones before it; the last field wins."""
    flags = ("--preset", "loops-debug", "--dry-run")
    asked = ("--set", "steps=7", "lr=0.5", "--threads", 1, "--set", "lr=0.25", "--set", "seed=3")
    assert run("train", "codec", tmp_path, tmp_path / "m", *flags, *asked) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ('"steps": 7', '"lr": 0.25', '"seed": 3'))


def test_a_film_beside_its_picture_is_kept(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A phone's motion photo; the clip takes another name and says so, and is made again under it."""
    png(tmp_path / "IMG_0001.png")
    film = tmp_path / "IMG_0001.mp4"
    film.write_bytes(b"a film")
    for _ in range(2):
        assert run("generate", tmp_path, "--model", tiny_folder, "--steps", 1) == 0
        assert f"{film} was not written by sfv and is left as it is" in capsys.readouterr().out
        assert film.read_bytes() == b"a film" and json.loads(read_note(tmp_path / "IMG_0001-2.mp4"))["sfv"]
        assert len(list(tmp_path.iterdir())) == 3
    assert run("generate", tmp_path / "IMG_0001.png", "--model", tiny_folder, "--steps", 1, "--overwrite") == 0
    assert json.loads(read_note(film))["sfv"]


def test_what_a_new_clip_replaces_is_said(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours may be replaced, but not in silence: made otherwise, or of another picture; the same again says nothing."""
    one, other, out = png(tmp_path / "one.png"), png(tmp_path / "other.png", 1), tmp_path / "out.mp4"
    common = ("-o", out, "--model", tiny_folder, "--steps", 1)
    lines = []
    for picture, seed in ((one, 3), (one, 3), (one, 4), (other, 4)):
        assert run("generate", picture, *common, "--seed", seed) == 0
        lines.append(" ".join(line for line in capsys.readouterr().out.splitlines() if " replaces " in line))
    assert lines[:2] == ["", ""] and lines[2].endswith("replaces sfv's earlier clip of seed 3")
    assert lines[3].endswith("replaces sfv's clip of another picture")


def test_quiet_says_what_went_wrong_alone(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    png(tmp_path / "a.png"), png(tmp_path / "b.png"), (tmp_path / "c.png").write_bytes(b"not a picture")
    assert run("generate", tmp_path, "--model", tiny_folder, "--steps", 4, "--quiet") == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("sfv: ") and said.err.count("\n") == 1 and "c.png" in said.err


def test_white_alone_moves_or_keeps_still(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((24, 40, 3), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    common = (png(tmp_path / "p.png"), "--model", tiny_folder, "--steps", 1, "--format", "png", "-o")
    for flag, still in (("--keep-still", slice(2, 12)), ("--only-moves", slice(20, 30))):
        assert run("generate", *common, tmp_path / f"{flag}.png", flag, tmp_path / "mask.png") == 0
        frames = read_clip(tmp_path / f"{flag}.png")[:, 8:24].int()
        change = (frames - frames[:1]).abs().amax((0, 1, 3))
        assert change[still].max() == 0 and change.max() > 0
    both = ("--keep-still", tmp_path / "mask.png", "--only-moves", tmp_path / "mask.png")
    assert run("generate", *common, tmp_path / "b.png", *both) == 1
    assert "give one of them" in capsys.readouterr().err


def test_a_size_far_from_the_models_own_warns_once(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [png(tmp_path / name) for name in ("a.png", "b.png")]
    for side, times in ((32, 0), (64, 1)):
        flags = ("--model", tiny_folder, "--steps", 1, "--height", side, "--width", side, "-o", tmp_path / str(side))
        assert run("generate", *pictures, *flags) == 0
        assert capsys.readouterr().err.count("is far from the 32x32") == times


def test_a_model_that_sfv_did_not_write_is_kept(tiny_folder: Path, tmp_path: Path) -> None:
    """Training and export name a new folder, or stop before anything is written."""
    theirs = tmp_path / "svd"
    shutil.copytree(tiny_folder, theirs)
    for name in ("unet", "teacher"):
        (theirs / name / "sfv.json").unlink(missing_ok=True)
    before = {p: p.read_bytes() for p in theirs.rglob("*") if p.is_file()}
    for words in (("export", tiny_folder, theirs), ("train", "student", tmp_path, theirs, "--preset", "debug")):
        assert run(*words) == 1
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"mine")
    assert run("export", tiny_folder, file, "--to", "single-file") == 1
    assert {p: p.read_bytes() for p in theirs.rglob("*") if p.is_file()} == before and file.read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["diffusers", "single-file", "lora", "onnx", "web"])
def test_an_export_leaves_its_model_as_it_is(
    tiny_folder: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Onto itself, by whatever way its name is written, and into it."""
    mine = tmp_path / "mine"
    shutil.copytree(tiny_folder, mine)
    (tmp_path / "link").symlink_to(mine)
    before = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    for out in (mine, tmp_path / "link", tmp_path / "mine" / ".." / "mine", mine / "unet" / "x.safetensors"):
        assert run("export", mine, out, "--to", kind) == 1
        assert "is the model itself; name a place" in (said := capsys.readouterr().err) or "lies inside the" in said
    assert {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("killed", [False, True])
def test_an_export_that_was_cut_off_begins_again(
    tiny_folder: Path, tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a full disk, in one sentence, or by a kill, after which nothing was tidied up."""
    out, store = tmp_path / "there" / "out", Autoencoder.store

    def cut_off(network: Autoencoder, folder: Path, dtype: torch.dtype | None) -> None:
        store(network, folder, dtype)
        if killed:
            raise KeyboardInterrupt
        with replacing(folder / "more"):
            raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(Autoencoder, "store", cut_off)
        if killed:
            patch.setattr("sfv.system.files.shutil.rmtree", lambda *_, **__: None)
        assert run("export", tiny_folder, out) == (130 if killed else 1)
    said = capsys.readouterr().err
    assert killed or said.startswith(f"sfv: {out}/vae/more cannot be written (No space left on device); free some")
    assert not out.exists() and any((tmp_path / "there").iterdir()) == killed
    assert run("export", tiny_folder, out) == 0
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["out"] and (out / "model_index.json").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full"), "a file cannot be written (No space left on device); free some space there"),
        (OSError(errno.EROFS, "no", "x/log.jsonl"), "x/log.jsonl cannot be written (Read-only file system); choose"),
        (PermissionError(errno.EACCES, "no", "x"), "x cannot be written (Permission denied); choose another place"),
        (FileNotFoundError(errno.ENOENT, "no", "x"), ""),
        (KeyError("a mistake of ours"), ""),
    ],
)
def test_what_the_disk_refuses_is_one_sentence_and_our_mistakes_are_not_hidden(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> int:
        raise error

    monkeypatch.setattr("sfv.cli.models.Report.run", fails)
    if not said:
        with pytest.raises(type(error)):
            run("report", "x")
        return
    assert run("report", "x") == 1 and capsys.readouterr().err.startswith(f"sfv: {said}")


@pytest.mark.weights
def test_export_takes_an_embedded_models_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "sticker", tmp_path / "mine") == 0
    assert (tmp_path / "mine" / "unet").is_dir()
    assert run("export", "stickr", tmp_path / "other") == 1
    assert "stickr is not a model folder (no model_index.json inside)" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["-o", "svg"])
def test_a_benchs_result_replaces_nothing(
    tiny_folder: Path, tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / ("notes.json" if way == "-o" else "notes.svg")
    mine.write_text("[]")
    words = ("bench", png(tmp_path / "cat.png"), "-o", tmp_path / "notes.json", "--models", f"{tiny_folder}:1")
    assert run(*words) == 1 and "was not written by sfv" in capsys.readouterr().err
    assert mine.read_text() == "[]"


def test_a_name_that_is_no_text_ends_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    """A strict terminal, as under en_US.UTF-8: the bytes of such a name cannot be printed as they are."""
    odd = os.fsdecode(b"\xff-cat.png")
    for name in (odd, "a.png"):
        png(tmp_path / name)
    (tmp_path / os.fsdecode(b"bad\xfe.png")).write_bytes(b"not a picture")
    words = ["generate", tmp_path, "-o", tmp_path / "out", "--model", tiny_folder, "--steps", "1"]
    env = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "sfv", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.mp4", odd.replace(".png", ".mp4")}
    assert "\\udcfe" in done.stderr and "\\udcff" in done.stdout


def test_bars_are_rare_where_errors_go_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm reads the seconds between two lines as it is imported."""
    for given, seconds in ((None, "10"), ("3", "3")):
        monkeypatch.setenv("TQDM_MININTERVAL", given or "")
        if given is None:
            monkeypatch.delenv("TQDM_MININTERVAL")
        monkeypatch.setattr(sys, "argv", ["sfv", "--version"])
        with pytest.raises(SystemExit):
            entry()
        assert os.environ["TQDM_MININTERVAL"] == seconds


def test_a_picture_with_the_longest_name_does_not_end_the_batch(tiny_folder: Path, tmp_path: Path) -> None:
    """Its clip's name is shortened."""
    for name in ("a", "x" * 251, "z"):
        png(tmp_path / f"{name}.png")
    flags = ("--model", tiny_folder, "--steps", 1, "--format", "webp", "-o", tmp_path / "out")
    assert run("generate", tmp_path, *flags) == 0
    assert sorted(len(p.name) for p in (tmp_path / "out").iterdir()) == [6, 6, 255]


@pytest.mark.parametrize(
    ("more", "made"),
    [((), ["a.mp4", "c.mp4"]), (("--seeds", "1"), ["a-seed1.mp4", "a-seeds.png", "c-seed1.mp4", "c-seeds.png"])],
)
def test_what_the_system_refuses_of_one_picture_does_not_end_the_batch(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    made: list[str],
) -> None:
    real = clip_file.write_clip

    def full(frames: torch.Tensor, target: Path, *rest: Any) -> None:
        if target.stem.startswith("b"):
            raise OSError(28, "No space left on device", str(target))
        real(frames, target, *rest)

    monkeypatch.setattr(clip_file, "write_clip", full)
    for name in "abc":
        png(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    assert run("generate", tmp_path, *more, "--model", tiny_folder, "--steps", 1, "-o", out) == 1
    said = capsys.readouterr()
    assert "No space left on device; see whether there is room" in said.out + said.err and "Traceback" not in said.err
    assert [p.name for p in sorted(out.iterdir())] == made


def test_a_pipe_is_no_picture(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not waited for."""
    os.mkfifo(tmp_path / "pipe.png")
    flags = ("--model", tiny_folder, "--steps", 1, "-o", tmp_path / "out")
    assert run("generate", png(tmp_path / "cat.png"), tmp_path / "pipe.png", *flags) == 1
    said = capsys.readouterr()
    assert "pipe.png is a device or a pipe, not a picture" in said.out + said.err
    assert (tmp_path / "out" / "cat.mp4").is_file()


def test_an_empty_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable is not the whole folder."""
    monkeypatch.chdir(tmp_path)
    png(tmp_path / "cat.png")
    assert run("generate", "", "-o", tmp_path / "out") == 2
    assert "an empty name is given" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/inside"])
def test_a_comparison_that_cannot_be_kept_is_one_sentence(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert run("compare", png(tmp_path / "cat.png"), "-o", tmp_path / out) == 1
    assert "cannot be written" in capsys.readouterr().err and (tmp_path / "file").read_text() == "mine"


def test_ctrl_c_while_libraries_are_read_is_one_line() -> None:
    code = (
        "import sys, builtins\n"
        "real = builtins.__import__\n"
        "def stopped(name, *rest):\n"
        "    if name == 'sfv.cli.main': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = stopped\n"
        "from sfv.__main__ import run\n"
        "run()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "sfv: stopped\n")
