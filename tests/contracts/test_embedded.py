"""The weights that ship: present, small enough, one call, moving, faithful to the picture."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel

import sfv
from sfv.batch.compare import compare, example
from sfv.measures.video import psnr
from sfv.media import flow, read_sticker
from sfv.settings import Settings

pytestmark = pytest.mark.weights
FOLDER = Path(str(files("sfv"))) / "weights" / "sticker"


@pytest.fixture(scope="module")
def model() -> sfv.VideoModel:
    return sfv.load()


@pytest.fixture(scope="module")
def clip(model: sfv.VideoModel) -> sfv.Clip:
    return sfv.generate(model, sfv.read_picture(example()))


def test_weights_fit_their_budget() -> None:
    total = sum(f.stat().st_size for f in FOLDER.rglob("*.safetensors"))
    assert 10e6 < total <= 48e6


def test_one_call_makes_a_clip_that_moves(clip: sfv.Clip) -> None:
    assert clip.calls == 1
    assert clip.frames.shape == (72, 128, 128, 3)
    assert float(flow(clip.frames).mean()) > 0.02


def test_the_first_frame_is_the_picture(clip: sfv.Clip) -> None:
    assert psnr(clip.frames[0], clip.picture) > 20


def test_bf16_decoding_stays_close(model: sfv.VideoModel, clip: sfv.Clip) -> None:
    exact = sfv.generate(sfv.load(decode_dtype=torch.float32), clip.picture)
    assert psnr(exact.frames, clip.frames) > 38


def test_the_clip_is_a_whole_loop(clip: sfv.Clip) -> None:
    """The step from the last frame to the first is like any other, and the clip comes back by itself."""
    frames = clip.frames.float()
    steps = (frames - frames.roll(1, 0)).abs().mean((1, 2, 3))
    assert float(steps[0]) < 2.5 * float(steps[1:].median())
    assert not clip.latents[:, 0].any()


def test_in_between_frames_keep_the_frames_they_are_between(model: sfv.VideoModel, clip: sfv.Clip) -> None:
    """Of the network's motion: lids come down within two frames of eight a second."""
    clip = sfv.generate(model, clip.picture, move="free")
    made = sfv.generate(model, clip.picture, move="free", play_fps=8)
    assert (clip.fps, made.fps) == (24, 8) and 3 * len(made.frames) == len(clip.frames)
    assert torch.equal(clip.frames[0], made.frames[0])
    for frame in made.frames:
        assert max(psnr(near, frame) for near in clip.frames) > 28


def test_a_sticker_stays_transparent(model: sfv.VideoModel) -> None:
    """Corners are clear in every frame, the first frame's alpha is the picture's, and the outline moves."""
    sticker = read_sticker(example())
    clip = sfv.generate(model, sticker, transparent=True)
    made = clip.stickers()
    assert clip.calls == 1 and made.shape == (72, 128, 128, 4)
    alpha = made[..., 3].float() / 255
    assert float(alpha[:, [0, 0, -1, -1], [0, -1, 0, -1]].max()) < 0.1
    assert float((alpha[0] - sticker[..., 3] / 255).abs().mean()) < 0.03
    assert float((alpha[len(alpha) // 3] - alpha[0]).abs().mean()) > 0.002


def test_the_teacher_ships_too(model: sfv.VideoModel) -> None:
    teacher = sfv.load("sticker-teacher")
    assert teacher.defaults.steps == 25 and model.defaults.steps == 1
    assert teacher.hash != model.hash


def test_its_unet_is_of_diffusers_class() -> None:
    """Both denoisers open as SVD's UNet class; the codec is of another class, so the stock pipeline does not open."""
    for name in ("unet", "teacher"):
        unet = UNetSpatioTemporalConditionModel.from_pretrained(FOLDER / name)
        assert unet.config.in_channels == 112 and unet.config.out_channels == 16


def test_compare_is_the_demo(tmp_path: Path) -> None:
    lines = list(compare(None, ("sticker", "sticker-teacher"), Settings(steps=2), tmp_path))
    assert "network call" in lines[0]
    assert (tmp_path / "side-by-side.mp4").exists()


def test_published_figures_are_the_committed_result() -> None:
    """Table, picture and ratios to teacher and programs are those of the committed result, digit for digit."""
    from sfv.evaluation.bars import bars
    from sfv.evaluation.table import Measured, markdown

    root = Path(__file__).parent.parent.parent
    found = json.loads((root / "docs" / "results" / "embedded-report.json").read_text())
    rows = [Measured(**r) for r in found["rows"]]
    figures, readme = (root / "docs" / "figures.md").read_text(), " ".join((root / "README.md").read_text().split())
    assert markdown(rows) in figures
    assert (root / "docs" / "media" / "distances.svg").read_text().strip() == bars(rows, found["protocol"]["clips"])
    shown = {
        p["other"]: f"{p['ratio']:.2f} ({p['low']:.2f} to {p['high']:.2f})"
        for p in found["pairs"]
        if p["row"] == "sticker:1"
    }
    for other in ("sticker-teacher:25", "sway", "squash"):
        assert shown[other] in figures and shown[other] in readme


@pytest.mark.parametrize("trimmed", [True, False])
def test_a_bust_stays_on_its_edge_and_a_trimmed_thing_may_leave_it(model: sfv.VideoModel, trimmed: bool) -> None:
    """A dome of 128 x 128; what was trimmed has an outline of half-clear pixels at the lower edge."""
    at = torch.arange(128) + 0.5
    away = ((at - 64) / 50) ** 2 + ((at[:, None] - 140) / 100) ** 2
    alpha = (255 * (away < 1)).to(torch.uint8)
    alpha[-1] //= 2 if trimmed else 1
    picture = torch.cat([torch.tensor([40, 90, 200], dtype=torch.uint8).expand(128, 128, 3), alpha[..., None]], 2)
    clip = sfv.generate(model, picture, transparent=True, size="128", stiff="on")
    assert clip.alpha is not None
    reached = (clip.alpha[:, -1, :, 0] > 127).float().sum(1) / float((away[-1] < 1).sum())
    assert float(flow(clip.frames).mean()) > 0.02
    assert float(reached[1:].max()) < 0.5 if trimmed else float(reached.min()) > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_nothing_leaves_a_banner(model: sfv.VideoModel, seed: int) -> None:
    """Balls in a row, which have a quarter of their strip's height as room: in no frame an edge cuts them."""
    y, x = torch.meshgrid(torch.arange(120), torch.arange(500), indexing="ij")
    ball = (x % 100 - 50) ** 2 + (y - 60) ** 2 < 35**2
    picture = torch.where(ball[..., None], torch.tensor([200, 40, 40]), 245).to(torch.uint8)
    frames = sfv.generate(model, picture, size="128", seed=seed).frames
    assert float(flow(frames).mean()) > 0.02
    assert float((frames[:, [0, -1], :, 1] < 140).float().mean((1, 2)).max()) < 0.05
