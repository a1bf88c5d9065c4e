"""Transparent clips: the matte, its files, colours without white, formats that hold alpha, refusals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfv
from sfv.batch.animate import animate_files
from sfv.batch.replay import replay
from sfv.data.stickers import ClipStore
from sfv.decoding.folder import CONFIG, WEIGHTS
from sfv.decoding.matte import Matte, MatteConfig, load_matte, save_matte
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd import folder as svd_folder
from sfv.generation.generate import generate, generate_many
from sfv.media import fit_sticker, over_white, read_sticker, write_clip
from sfv.settings import Settings
from sfv.training.config import MatteTraining
from sfv.training.objectives.matte import MatteTask, train_matte
from sfv.training.seeds import Seeds


def fresh(widths: tuple[int, ...] = (8, 12)) -> Matte:
    torch.manual_seed(3)
    return Matte(MatteConfig(widths=widths)).eval().requires_grad_(False)


@pytest.fixture
def cutting(tiny: VideoModel) -> VideoModel:
    return replace(tiny, matte=fresh())


def disc(side: int = 40) -> torch.Tensor:
    """A red disc, opaque inside, half at its rim, nothing outside."""
    y, x = np.mgrid[:side, :side]
    away = np.hypot(y - side / 2, x - side / 2)
    alpha = np.where(away < side / 3, 255, np.where(away < side / 2.5, 128, 0))
    return torch.from_numpy(np.dstack([np.full((side, side), 200), 0 * alpha, 0 * alpha, alpha]).astype(np.uint8))


def saved(path: Path, sticker: torch.Tensor) -> Path:
    Image.fromarray(sticker.numpy()).save(path)
    return path


def frames_of(path: Path) -> torch.Tensor:
    with Image.open(path) as file:
        every = []
        for i in range(file.n_frames):  # type: ignore[attr-defined]
            file.seek(i)
            every.append(np.array(file.convert("RGBA")))
    return torch.from_numpy(np.stack(every))


@pytest.mark.parametrize("side", [32, 30, 17])
def test_alpha_has_the_frames_size(side: int) -> None:
    alpha = fresh()(torch.rand(2, 5, 3, side, 32), torch.rand(2, 3, side, 32), torch.rand(2, 1, side, 32))
    assert alpha.shape == (2, 5, 1, side, 32) and 0 <= float(alpha.min()) and float(alpha.max()) <= 1


def test_it_is_kept_in_float16_and_opened_strictly(tmp_path: Path) -> None:
    matte = fresh()
    save_matte(matte, tmp_path, torch.float16)
    again = load_matte(tmp_path, torch.float32)
    assert torch.equal(again.entry.weight, matte.entry.weight.half().float())
    (tmp_path / CONFIG).write_text(json.dumps({"widths": [8, 16]}))
    with pytest.raises(SfvError, match="not a whole matte"):
        load_matte(tmp_path, torch.float32)
    (tmp_path / CONFIG).write_text(json.dumps({"widths": [8, 12]}))
    (tmp_path / WEIGHTS).write_bytes(b"\0")
    with pytest.raises(SfvError, match="not a whole matte"):
        load_matte(tmp_path, torch.float32)


def test_a_model_keeps_its_matte(cutting: VideoModel, tmp_path: Path) -> None:
    svd_folder.save(cutting, tmp_path)
    again = sfv.load(tmp_path)
    assert again.matte is not None and cutting.matte is not None
    assert torch.equal(again.matte.exit.weight, cutting.matte.exit.weight)


def test_white_is_taken_out_of_the_colours(cutting: VideoModel) -> None:
    clip = generate(cutting, disc(), transparent=True, steps=1, guidance=1)
    assert clip.alpha is not None and set(clip.seconds) == {"encode", "unet", "decode", "matte"}
    sticker = disc(32).expand(len(clip.frames), -1, -1, -1)
    known = replace(clip, frames=torch.stack([over_white(s) for s in sticker]), alpha=sticker[..., 3:].contiguous())
    seen = known.stickers()
    shown = seen[..., 3] > 0
    assert int((seen[shown].int() - sticker[shown].int()).abs().max()) <= 1


def test_a_batch_of_transparent_clips(cutting: VideoModel) -> None:
    """Each clip's alpha is its own."""
    discs, want = [disc(), disc(30)], Settings(steps=1, guidance=1, transparent=True)
    for clip, source in zip(generate_many(cutting, discs, want, [1, 2]), discs, strict=True):
        alone = generate(cutting, source, want, seed=clip.settings.seed)
        assert clip.alpha is not None and alone.alpha is not None and set(clip.seconds) == set(alone.seconds)
        assert (clip.stickers().int() - alone.stickers().int())[..., 3].abs().max() <= 1


def test_opaque_clips_are_untouched_by_it(cutting: VideoModel, tiny: VideoModel) -> None:
    picture = over_white(disc())
    one, other = (generate(m, picture, steps=1, guidance=1) for m in (cutting, tiny))
    assert torch.equal(one.frames, other.frames) and one.alpha is None
    with pytest.raises(SfvError, match="transparent=True"):
        one.stickers()


def test_resizing_does_not_bring_hidden_colours_out() -> None:
    sticker = disc(64)
    sticker[..., :3][sticker[..., 3] == 0] = 255
    small = fit_sticker(sticker, 16, 24)
    assert small.shape == (16, 24, 4) and int(small[0, 0, 3]) == 0
    rim = (small[..., 3] > 8) & (small[..., 3] < 250)
    assert rim.any() and int(small[rim][:, 1].max()) < 40, "a red rim that turns pink has taken on hidden white"


@pytest.mark.parametrize("kind", ["webp", "png", "gif"])
def test_files_hold_transparency(kind: str, tmp_path: Path) -> None:
    clip = torch.stack([disc().roll(i, 1) for i in range(3)])
    write_clip(clip, tmp_path / f"c.{kind}", 10, "note")
    again = frames_of(tmp_path / f"c.{kind}")
    assert again.shape == clip.shape
    error = (again[..., 3].int() - clip[..., 3].int()).abs()
    assert int(error.max()) <= (128 if kind == "gif" else 1)
    solid = clip[..., 3] == 255
    assert float((again[solid].int() - clip[solid].int()).abs().float().mean()) < 4


def test_files_come_out_transparent_and_replay(cutting: VideoModel, tmp_path: Path) -> None:
    svd_folder.save(cutting, tmp_path / "model")
    source = saved(tmp_path / "disc.png", disc())
    settings = Settings(transparent=True, steps=1, guidance=1)
    (report,) = animate_files([source], str(tmp_path / "model"), settings, tmp_path / "out")
    assert report["out"].endswith("disc.webp") and "matte" in report["seconds"]
    again = replay(Path(report["out"]))
    assert Path(report["out"]).read_bytes() == Path(again["out"]).read_bytes()


def test_an_opaque_crop_of_a_sticker_replays(cutting: VideoModel, tmp_path: Path) -> None:
    """Its note holds a picture that is transparent nowhere."""
    svd_folder.save(cutting, tmp_path / "model")
    wide = torch.zeros(40, 120, 4, dtype=torch.uint8)
    wide[:, 30:90] = torch.tensor([200, 0, 0, 255], dtype=torch.uint8)
    settings = Settings(transparent=True, fit="crop", steps=1, guidance=1)
    (made,) = animate_files([saved(tmp_path / "w.png", wide)], str(tmp_path / "model"), settings, tmp_path / "out")
    assert Path(replay(Path(made["out"]))["out"]).read_bytes() == Path(made["out"]).read_bytes()


def test_refusals(cutting: VideoModel, tiny: VideoModel, tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="has no matte"):
        generate(tiny, disc(), transparent=True)
    with pytest.raises(SfvError, match="alpha channel"):
        generate(cutting, over_white(disc()), transparent=True)
    with pytest.raises(SfvError, match="has an alpha channel; ask for transparent=True"):
        generate(cutting, disc())
    with pytest.raises(ValueError, match="contradict"):
        Settings(transparent=True, background="red")
    with pytest.raises(SfvError, match="mp4 holds no transparency"):
        write_clip(disc()[None], tmp_path / "c.mp4", 10)
    opaque = disc()
    opaque[..., 3] = 255
    source = saved(tmp_path / "opaque.png", opaque)
    with pytest.raises(SfvError, match="opaque.png is not transparent anywhere"):
        read_sticker(source)
    for flags in ((tmp_path / "c.mp4", None), (tmp_path, "mp4")):
        with pytest.raises(SfvError, match="mp4 holds no transparency"):
            list(animate_files([source], "sticker", Settings(transparent=True), *flags))


def test_it_learns_and_leaves_the_model_alone(cutting: VideoModel, store: Path, tmp_path: Path) -> None:
    config = MatteTraining(steps=25, clips=2, frames=3, lr=1e-2, warmup=0, ema=0.5, precision="fp32", noise=0.0)
    before = [p.clone() for p in cutting.codec.parameters()]
    task = MatteTask(fresh().requires_grad_(True), cutting, ClipStore(store), config)
    same = [task.step(0, Seeds(1, 0, 0))["loss"] for _ in range(12)]
    assert same[-1] < 0.5 * same[0], "twelve steps on one batch must fit it"
    matte = train_matte(fresh().requires_grad_(True), cutting, ClipStore(store), config, tmp_path)
    assert all(torch.isfinite(p).all() for p in matte.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, cutting.codec.parameters(), strict=True))
