"""A region that keeps still, and the way there and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.generate import begin, generate
from sfv.generation.sampling import condition
from sfv.media import fit_mask, keep_still, read_clip, read_note, soft_edge, there_and_back


def picture(height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def left_half(height: int = 32, width: int = 32) -> torch.Tensor:
    mask = torch.zeros(height, width, 3, dtype=torch.uint8)
    mask[:, : width // 2] = 255
    return mask


def test_the_edge_is_soft_and_lies_outside() -> None:
    weights = soft_edge(left_half(128, 128)[..., 0])
    assert (weights[:, :64] == 1).all() and (weights[:, 73:] == 0).all()
    row = weights[64, 63:74]
    assert (row.diff() <= 0).all() and 0.3 < float(row[4]) < 0.7


def test_a_thin_stroke_holds() -> None:
    mask = torch.zeros(128, 128, dtype=torch.uint8)
    mask[60] = 255
    assert (soft_edge(mask)[60] == 1).all()


def test_frames_are_the_still_inside_and_the_clip_outside() -> None:
    frames, still = torch.stack([picture(64, 64, i) for i in range(3)]), picture(64, 64, 9)
    out = keep_still(frames, still, soft_edge(left_half(64, 64)[..., 0]))
    assert (out[:, :, :32] == still[:, :32]).all()
    assert torch.equal(out[:, :, 40:], frames[:, :, 40:])
    between = out[0, :, 34].float()
    low, high = torch.minimum(frames[0, :, 34], still[:, 34]), torch.maximum(frames[0, :, 34], still[:, 34])
    assert ((between >= low.float()) & (between <= high.float())).all()


def test_a_mask_is_fitted_as_its_picture_is() -> None:
    mask = fit_mask(left_half(20, 40), (40, 80), (32, 32), "pad")
    assert (mask[8:24, :15] == 255).all() and (mask[:7] == 0).all() and (mask[:, 17:] == 0).all()
    with pytest.raises(SfvError, match="20x40.*one shape"):
        fit_mask(left_half(40, 20), (40, 80), (32, 32), "pad")
    assert (fit_mask(left_half(15, 512), (30, 1000), (30, 1000), "pad")[:, :490] == 255).all()  # 15.36, rounded


def test_there_and_back_ends_beside_its_start() -> None:
    frames = torch.arange(5)[:, None, None, None].expand(-1, 2, 2, 3)
    assert there_and_back(frames)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


def test_generate_keeps_still_and_comes_back(tiny: VideoModel) -> None:
    free = generate(tiny, picture(), steps=1)
    kept = generate(tiny, picture(), keep_still=left_half(), steps=1, boomerang=True)
    assert (kept.frames[:, :, :16] == kept.picture[:, :16]).all()
    assert torch.equal(kept.frames[:4, :, 20:], free.frames[:, :, 20:])
    assert len(kept.frames) == 2 * len(free.frames) - 2 == kept.latents.shape[1]


def test_a_condition_is_retold_without_encoding(tiny: VideoModel) -> None:
    starts = [begin(tiny, picture(), {"motion": m, "fps": f}) for m, f in ((100, 7), (20, 12))]
    first = starts[0].small.permute(2, 0, 1)[None].float() / 127.5 - 1
    conds = [condition(tiny, first, s.want) for s in starts]
    told = tiny.conditioner.with_knobs(conds[0], fps=12, motion=20, noise_aug=starts[1].want.noise_aug)
    assert told.keys() == conds[1].keys() and all(torch.equal(told[k], conds[1][k]) for k in told)


def test_the_flag_and_its_replay(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(24, 40).numpy()).save(tmp_path / "p.png")
    Image.fromarray(left_half(48, 80).numpy()).save(tmp_path / "mask.png")
    flags = ["--steps", "1", "--model", str(tiny_folder), "--keep-still", str(tmp_path / "mask.png"), "--boomerang"]
    assert main(["generate", str(tmp_path / "p.png"), "-o", str(tmp_path / "a.webp"), *flags]) == 0
    assert main(["replay", str(tmp_path / "a.webp"), "-o", str(tmp_path / "b.webp")]) == 0
    assert torch.equal(read_clip(tmp_path / "a.webp"), read_clip(tmp_path / "b.webp"))
    assert "keep_still" in json.loads(read_note(tmp_path / "a.webp"))
    assert main(["generate", str(tmp_path / "p.png"), "-o", str(tmp_path / "c.webp"), *flags[:4], *flags[6:]]) == 0
    assert not torch.equal(read_clip(tmp_path / "a.webp"), read_clip(tmp_path / "c.webp"))
    capsys.readouterr()
    flags[5] = str(tmp_path / "nothing.png")
    assert main(["generate", str(tmp_path / "p.png"), "-o", str(tmp_path / "d.webp"), *flags]) == 1
    assert "nothing.png does not exist" in capsys.readouterr().err
