"""Clips larger than the network makes them: the flow moves a larger picture."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageSequence
from serving import CARD, LIMITS
from toys import shaken

import sfv
from sfv.batch.clip_file import animate_file
from sfv.batch.replay import replay
from sfv.decoding.decoder import Decoded
from sfv.decoding.guide import moved
from sfv.decoding.upscale import Layers, enlarged
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.media import read_note, write_picture
from sfv.settings import Settings


@pytest.fixture
def guided(tiny: VideoModel) -> VideoModel:
    return replace(tiny, small=shaken())


def patches(side: int, channels: int = 3) -> torch.Tensor:
    """A picture of soft patches, any size."""
    coarse = torch.rand(1, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def as_uint8(picture: torch.Tensor) -> torch.Tensor:
    return (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8)


def test_what_moves_at_the_networks_size_moves_at_the_larger() -> None:
    """A shift of 2 pixels is one of 6 three times as large, and what is drawn beside it is enlarged."""
    small, large = patches(32), patches(96)
    flow = torch.zeros(1, 2, 2, 32, 32)
    flow[:, 1, 0] = 2
    own = moved(small, flow[0])[None]
    still, shifted = enlarged(Decoded(own, flow=flow), small, large, own)
    torch.testing.assert_close(still, large)
    torch.testing.assert_close(shifted[..., :-6], large[..., 6:])
    drawn = own.clone()
    drawn[:, 0, :, 8:16, 8:16] += 1
    brighter, _ = enlarged(Decoded(drawn, flow=flow), small, large, drawn)
    assert (
        float((brighter - large)[..., 30:42, 30:42].min()) > 0.99 and float((brighter - large)[..., 60:].max()) < 1e-5
    )


NOTHING = torch.full((4,), -1.0)


@pytest.mark.parametrize("side", [32, 96])
def test_beyond_a_clear_pictures_border_is_nothing(side: int) -> None:
    """A full picture that goes 4 of 32 pixels to the left: on the right its border goes on, or there is nothing."""
    picture = patches(side, 4) * 2 - 1
    flow = torch.zeros(1, 2, 2, 32, 32)
    flow[:, 1, 0] = 4
    frames = torch.zeros(1, 2, 4, 32, 32)
    layers = Layers(Decoded(frames, frames, torch.ones(1, 2, 1, 32, 32), flow), patches(32, 4))
    (still, goes_on), (again, ends) = (torch.cat([*layers.over(picture, beyond=v)]) for v in (None, NOTHING))
    torch.testing.assert_close(again, still, atol=1e-5, rtol=0)
    torch.testing.assert_close(ends[..., : side * 7 // 8 - 1], goes_on[..., : side * 7 // 8 - 1], atol=1e-4, rtol=0)
    assert float((ends[..., side * 7 // 8 + 1 :] + 1).abs().max()) < 1e-5 < float((goes_on + 1)[..., -1].max())


@pytest.mark.parametrize(("k", "axis"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_picture_goes_on_beyond_the_sides_that_cut_its_thing_off(k: int, axis: int) -> None:
    """Of a full picture that goes 4 pixels away from one side, along and across."""
    picture = patches(32, 4) * 2 - 1
    flow = torch.zeros(1, 1, 2, 32, 32)
    flow[:, :, axis], flow[:, :, 1 - axis] = 4 * (2 * k - 1), 2
    frames = torch.zeros(1, 1, 4, 32, 32)
    layers = Layers(Decoded(frames, frames, torch.ones(1, 1, 1, 32, 32), flow), picture)
    sides = torch.zeros(2, 2, dtype=torch.bool)
    sides[k, axis] = True
    stopped = layers.stopped(sides, (-0.5, -0.5, 0.5, 0.5))
    all_on, on = (next(made)[0] for made in (layers.over(picture), stopped.over(picture, beyond=NOTHING)))
    empty = (on + 1).abs().amax(0) < 1e-4
    beyond = torch.zeros(32, 32, dtype=torch.bool)
    beyond[(slice(None), slice(-2, None)) if axis else (slice(-2, None),)] = True  # across there is nothing
    assert torch.equal(empty, beyond) and torch.allclose(on[:, ~beyond], all_on[:, ~beyond], atol=0.1)


@pytest.mark.parametrize("size", [32, 128])
def test_what_is_shown_of_a_frame_goes_on_beyond_its_own_border(size: int) -> None:
    """A grey thing on the lower edge of a strip between clear ones is lifted by 5 of 32 pixels: none of them is seen
    below it, nor a brighter line where it is cut."""
    shown, strip = (-0.5, -0.25, 0.5, 0.25), slice(size // 4, size * 3 // 4)
    picture = torch.full((1, 4, size, size), -1.0)
    picture[:, :, size // 2 : size * 3 // 4] = 0.2
    flow = torch.zeros(1, 1, 2, 32, 32)
    flow[:, :, 1] = 5.4
    frames = torch.zeros(1, 1, 4, 32, 32)
    layers = Layers(
        Decoded(frames, frames, torch.ones(1, 1, 1, 32, 32), flow), picture[..., :: size // 32, :: size // 32]
    )
    lower = torch.tensor([[False, False], [False, True]])
    lifted = next(layers.over(picture, beyond=NOTHING))[0, :, strip]
    assert float(lifted[:, -2:].max()) < -0.9, "there was a slit"
    made = next(layers.stopped(lower, shown).over(picture, beyond=NOTHING))[0, :, strip]
    below = made[:, size // 4 :]
    torch.testing.assert_close(below, torch.full_like(below, 0.2), atol=1e-3, rtol=0)
    rest = Layers(Decoded(frames, frames, torch.ones(1, 1, 1, 32, 32), 0 * flow), frames[0])
    still = next(rest.stopped(lower, shown).over(picture, beyond=NOTHING))[0, :, strip]
    torch.testing.assert_close(still, picture[0, :, strip], atol=1e-3, rtol=0)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_clip_is_put_together_again_from_its_layers(drawn: bool) -> None:
    """Its own frames at their own times; between two of them, half of both where nothing moves."""
    picture = patches(32)
    flow = torch.zeros(2, 2, 32, 32)
    flow[1, 0, :16] = 2
    trust = torch.ones(2, 1, 32, 32)
    there = moved(picture, flow)
    frames = there.clone()
    if drawn:
        trust[1, :, 20:28, 4:12] = 0.25
        frames = there + (1 - trust) * (0.9 - there)
    layers = Layers(Decoded(frames[None], trust=trust[None], flow=flow[None]), picture)
    assert (layers.beside is not None) == drawn
    torch.testing.assert_close(torch.cat([*layers.over(picture, few=1)]), frames)
    between = torch.cat([*layers.at(torch.tensor([0.0, 0.5, 1.5])).over(picture)])
    torch.testing.assert_close(between[0], frames[0])
    torch.testing.assert_close(between[1, :, 18:], frames.mean(0)[:, 18:])
    torch.testing.assert_close(between[1], between[2])


def test_an_enlarged_clip_has_the_pictures_own_detail(guided: VideoModel) -> None:
    picture = as_uint8(patches(128))
    clip = sfv.generate(guided, picture, enlarge=2, seed=3, steps=1)
    height, width = guided.defaults.height, guided.defaults.width
    assert clip.frames.shape == (guided.defaults.frames, 2 * height, 2 * width, 3)
    assert clip.picture.shape == (2 * height, 2 * width, 3) and clip.calls == 2
    assert clip.latents.shape == sfv.generate(guided, picture, seed=3, steps=1).latents.shape
    held = sfv.generate(guided, picture, enlarge=2, steps=1, keep_still=torch.full((9, 9, 3), 255, dtype=torch.uint8))
    assert bool((held.frames == held.picture).all())


def test_a_transparent_clip_is_enlarged_with_its_alpha() -> None:
    """The embedded model: half of the picture is clear, and most of what is clear stays so."""
    sticker = torch.cat([as_uint8(patches(256)), torch.zeros(256, 256, 1, dtype=torch.uint8)], 2)
    sticker[64:192, 64:192, 3] = 255
    model = sfv.load()
    clip = sfv.generate(model, sticker, transparent=True, enlarge=2, motion=0)
    assert clip.alpha is not None and clip.alpha.shape == (3 * model.defaults.frames, 256, 256, 1)
    assert clip.stickers().shape[-1] == 4
    assert float(clip.alpha[:, :40].float().mean()) < 3 and float(clip.alpha[:, 100:150, 100:150].float().mean()) > 250
    small = sfv.generate(model, sticker, transparent=True, fit="pad", motion=0)
    assert small.alpha is not None
    least = torch.nn.functional.avg_pool2d(clip.alpha.float().permute(0, 3, 1, 2), 2)
    assert float((least - small.alpha.float().permute(0, 3, 1, 2)).abs().mean()) < 4


def test_an_enlarged_clip_is_replayed(tmp_path: Path) -> None:
    write_picture(as_uint8(patches(200)), tmp_path / "p.png")
    model = sfv.load()
    report = animate_file(model, tmp_path / "p.png", Settings(enlarge=3, seed=5), tmp_path / "p.png.webp")
    again = replay(Path(report["out"]))
    first, second = (Image.open(r["out"]) for r in (report, again))
    assert first.size == second.size == (384, 384)
    assert json.loads(read_note(Path(report["out"])))["settings"]["enlarge"] == 3
    shown = [[frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(clip)] for clip in (first, second)]
    assert shown[0] == shown[1] and len(shown[0]) > 1


def test_what_cannot_be_enlarged_is_one_sentence(tiny: VideoModel, guided: VideoModel) -> None:
    picture = as_uint8(patches(64))
    with pytest.raises(SfvError, match="enlarge 2: only a decoder that moves"):
        sfv.generate(tiny, picture, enlarge=2)
    with pytest.raises(SfvError, match="enlarge 2: only"):
        sfv.generate(guided, picture, enlarge=2, decoder="full")
    with pytest.raises(SfvError, match="too much for one clip"):
        sfv.generate(sfv.load(), picture, enlarge=8, frames=200, height=1024, width=1024)
    with pytest.raises(SfvError, match="enlarge 2: only"):
        replace(CARD, limits=replace(LIMITS, enlarging=())).resolve(Settings(enlarge=2))
    assert CARD.resolve(Settings(enlarge=2)).enlarge == 2
