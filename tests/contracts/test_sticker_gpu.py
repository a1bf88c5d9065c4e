"""The recipe for a GPU draws, on its device, what `sfv train` draws on the CPU, and every part runs."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sticker_pack import COUNTS, write_pack

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "runs" / "recipes"))

import sticker_gpu as recipe  # noqa: E402

from sfv.data.loops import PROGRAMS, ProgrammedLoop, premultiplied  # noqa: E402
from sfv.families.motion import folder as motion_folder  # noqa: E402


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips are made up here in place of video files."""
    rng = np.random.default_rng(0)
    clips = {f"c{n}": rng.integers(0, 256, (n, 64, 64, 4), dtype=np.uint8) for n in COUNTS}
    monkeypatch.setattr(recipe, "SIZE", 64)
    monkeypatch.setattr(recipe, "decoded", lambda path: clips[path.stem])
    write_pack(tmp_path)
    return tmp_path


def one(clip: int, program: int) -> recipe.Drawn:
    """A batch of one loop."""
    return recipe.Drawn(*(torch.tensor([v]) for v in (clip, 0, program)), torch.tensor([0.7]), torch.tensor([2]))


def test_frames_are_those_of_the_clip(pack: Path) -> None:
    loops = recipe.Loops(pack, torch.device("cpu"), 0.5)
    times = torch.tensor([[0.0, 0.5, 1.25]])
    at = (times[0] * COUNTS[1]).round().long() % COUNTS[1]
    rgba = torch.from_numpy(recipe.decoded(Path("c9.mp4"))[at.numpy()]).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(loops.layers(one(1, 0), times)[0], premultiplied(rgba))


def test_programmed_stills_are_those_of_the_cpu(pack: Path) -> None:
    loops = recipe.Loops(pack, torch.device("cpu"), 0.5)
    times = torch.arange(4)[None] / 4
    still = loops.stills[0].float() / 255
    still = torch.cat([still[:3] * still[3:], still[3:]])
    for program in range(1, len(PROGRAMS)):
        want = ProgrammedLoop(still, program, 0.7, 2, size=64).frames(times[0])
        torch.testing.assert_close(loops.layers(one(-1, program), times)[0], want, atol=1e-5, rtol=0)


def test_a_look_keeps_alpha_or_fills_the_ground(pack: Path) -> None:
    loops = recipe.Loops(pack, torch.device("cpu"), 0.0)
    pixels, _ = loops.whole(24, 4, torch.Generator().manual_seed(0), rest=0.6, clear=0.5)
    assert pixels.shape == (24, 4, 4, 64, 64) and -1 <= float(pixels.min()) and float(pixels.max()) <= 1
    opaque = (pixels[:, :, 3] == 1).flatten(1).all(1)
    assert 4 < int(opaque.sum()) < 20
    assert bool((pixels[:, :, :3] <= pixels[:, :, 3:] + 1e-5).all())  # multiplied with alpha


def test_every_part_runs_and_a_folder_is_assembled(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One update of each: the clock is over after the first."""
    clock = iter(range(10**9))
    monkeypatch.setattr(recipe, "time", SimpleNamespace(monotonic=lambda: float(next(clock)), time=lambda: 0.0))
    short = {"student": {"head_width": 32, "lora": 2, "head_start": 0}}
    monkeypatch.setattr(recipe, "STUDENTS", short)
    args = ["x", str(pack), str(pack / "out"), "--init", str(pack / "start"), "--device", "cpu", "--pool", "64"]
    args += ["--codec-clips", "2", "--teacher-clips", "2", "--decoder-clips", "1", "--student-clips", "2"]
    monkeypatch.setattr(sys, "argv", [*args, "--parts", "codec=2", "teacher=2", "decoder=2", "student=2"])
    recipe.main()
    rows = [json.loads(line) for line in (pack / "out" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["finished"] and {r["part"] for r in rows if r.get("done")} == {
        "codec",
        "teacher",
        "decoder",
        "student",
    }
    assert all(math.isfinite(v) for r in rows for v in r.values() if isinstance(v, float))
    motion_folder.save(motion_folder.load(pack / "start", "teacher", torch.float32, "x"), pack / "start", "unet")
    monkeypatch.setattr(sys, "argv", ["x", "assemble", str(pack / "out"), str(pack / "start"), str(pack / "new")])
    recipe.main()
    made = motion_folder.load(pack / "new", "unet", torch.float32, "new")
    before = motion_folder.load(pack / "start", "unet", torch.float32, "old")
    assert made.hash != before.hash
