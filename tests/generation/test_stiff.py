"""What is stiff moves as one body: asked for, or decided from the picture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from tiny_stiffness import tiny_stiffness

import sfv
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation.generate import generate_many
from sfv.generation.stiff import liveliness, softness, strength
from sfv.media.grounds import fills_frame, ground_shades
from sfv.settings import Settings

SIDE = TINY_MOTION.size


@pytest.fixture(scope="module")
def moving() -> VideoModel:
    """Random weights everywhere, so that things bend."""
    return wiggle(new_motion_model(TINY_MOTION, 0))


def card() -> torch.Tensor:
    """A pattern on white."""
    picture = torch.full((SIDE, SIDE, 3), 255, dtype=torch.uint8)
    inner = torch.randint(0, 256, (SIDE // 2, SIDE // 2, 3), generator=torch.Generator().manual_seed(2))
    picture[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = inner.byte()
    return picture


def photo() -> torch.Tensor:
    rng = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (SIDE, SIDE, 3), dtype=torch.uint8, generator=rng)


def test_the_network_decides_and_the_clip_says_so(moving: VideoModel) -> None:
    bends, stiff = (replace(moving, stiffness=tiny_stiffness(v)) for v in (-1.0, 1.0))
    free, whole = sfv.generate(bends, card()), sfv.generate(stiff, card())
    assert (free.settings.stiff, whole.settings.stiff) == ("off", "on")
    assert torch.equal(free.latents, whole.latents) and not torch.equal(free.frames, whole.frames)
    assert torch.equal(sfv.generate(bends, card(), stiff="on").frames, whole.frames)
    assert torch.equal(sfv.generate(stiff, card(), stiff="off").frames, free.frames)


def test_without_a_network_nothing_is_stiff_by_itself(moving: VideoModel) -> None:
    assert sfv.generate(moving, card()).settings.stiff == "off"


def test_a_photo_is_one_body_without_a_network_too(moving: VideoModel, tiny: VideoModel) -> None:
    assert sfv.generate(moving, photo()).settings.stiff == "on"
    assert sfv.generate(tiny, photo()).settings.stiff == "off", "its decoder moves nothing"


@pytest.mark.parametrize("picture", [card, photo])
def test_an_opaque_picture_is_judged_alike_with_an_alpha_channel(
    moving: VideoModel, picture: Callable[[], torch.Tensor]
) -> None:
    """Of another shape than the network's frame: no card is made of it."""
    model = replace(moving, stiffness=tiny_stiffness(-1.0, 30.0))
    wide = picture()[SIDE // 8 : -SIDE // 8]
    opaque = torch.cat([wide, torch.full_like(wide[..., :1], 255)], 2)
    said = [sfv.generate(model, wide), sfv.generate(model, opaque, transparent=True)]
    assert said[0].settings.stiff == said[1].settings.stiff
    torch.testing.assert_close(said[0].latents, said[1].latents)


def test_a_frame_of_one_latent_is_judged(moving: VideoModel) -> None:
    model = replace(moving, stiffness=tiny_stiffness(1.0))
    assert sfv.generate(model, card(), height=16, width=16, steps=1, guidance=1).settings.stiff == "on"


def test_a_word_for_motion_moves_one_body_unless_that_is_refused(moving: VideoModel) -> None:
    assert sfv.generate(moving, card(), move="bounce").settings.stiff == "on"
    assert sfv.generate(moving, card(), move="bounce", stiff="off").settings.stiff == "off"


def test_each_picture_of_a_batch_has_its_own_answer(moving: VideoModel) -> None:
    model = replace(moving, stiffness=tiny_stiffness(-1.0))
    clips = generate_many(model, [card(), photo()], Settings(), [0, 0])
    assert [c.settings.stiff for c in clips] == ["off", "on"], "a photo fills its frame"


def test_a_picture_is_as_lively_as_such_pictures_are(moving: VideoModel) -> None:
    model, usual = replace(moving, stiffness=tiny_stiffness(-1.0, more=40.0)), moving.defaults.motion

    def latents(given: VideoModel, picture: torch.Tensor | None = None, **asked: object) -> torch.Tensor:
        return sfv.generate(given, card() if picture is None else picture, **asked).latents

    own = sfv.generate(model, card())
    assert own.settings.motion == usual, "what was asked for, so that the same is made again"
    assert torch.equal(own.latents, latents(moving, motion=usual + 40))
    assert not torch.equal(own.latents, latents(moving))
    assert torch.equal(latents(model, move="bounce"), latents(moving, move="bounce")), (
        "words are for every picture alike"
    )
    assert torch.equal(latents(model, photo()), latents(moving, photo())), "nothing is known of photos"
    pair = generate_many(model, [photo(), card()], Settings(), [0, 0])
    assert torch.allclose(pair[1].latents, own.latents, atol=1e-4)
    assert torch.allclose(pair[0].latents, latents(moving, photo()), atol=1e-4)


def test_softness_rises_as_a_thing_is_less_stiff() -> None:
    said = [softness(logit) for logit in (None, 2.0, -1.0, -1.1, -1.2, -3.0)]
    assert said == pytest.approx([0, 0, 0, 0.5, 1, 1])


def test_all_that_may_be_asked_for_stays_within_reach() -> None:
    assert [liveliness(asked, 110, 50) for asked in (0, 110, 255)] == [0, 160, 255]
    assert [liveliness(110, 110, more) for more in (-200, 0, 200)] == [20, 110, 235]
    rising = [liveliness(asked, 110, -60) for asked in range(256)]
    assert rising == sorted(rising) and len(set(rising)) == 256
    assert [liveliness(asked, usual, 5) for usual in (0, 255) for asked in (0, 255)] == [0, 255, 0, 235]


def test_a_ground_that_shades_stays_at_the_border(moving: VideoModel) -> None:
    line = torch.linspace(40, 240, SIDE)
    ramp = torch.stack(
        [line[:, None].expand(SIDE, SIDE), line.flip(0)[None].expand(SIDE, SIDE), line[:, None] + 0 * line]
    )
    picture = ramp.permute(1, 2, 0).round().byte().contiguous()
    picture[20:44, 20:44] = card()[20:44, 20:44]
    pixels = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
    assert ground_shades(pixels) and not fills_frame(pixels)
    assert not ground_shades(card().permute(2, 0, 1)[None].float() / 127.5 - 1)
    for stiff in ("on", "off"):
        frames = sfv.generate(moving, picture, stiff=stiff).frames.int()
        away = (frames - picture.int()).abs().amax(-1)
        assert int(away[:, [0, 1, -1, -2]].max()) <= 3 and int(away[:, :, [0, 1, -1, -2]].max()) <= 3
        assert int(away[:, 20:44, 20:44].max()) > 20, "the thing moves"


def test_large_clips_and_other_rates_are_stiff_too(moving: VideoModel) -> None:
    clip = sfv.generate(moving, card(), stiff="on", size="160", play_fps=16)
    assert clip.frames.shape[1:] == (160, 160, 3)
    outside = clip.frames[:, :2].float()
    assert float((255 - outside).abs().max()) <= 1, "the ground is white in every frame"


def test_a_decoder_that_does_not_move_pictures_cannot(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="stiff on: only a decoder that moves the picture"):
        sfv.generate(replace(tiny, small=None), photo(), stiff="on")


def test_the_network_is_kept_with_the_model(moving: VideoModel, tmp_path: Path) -> None:
    motion_folder.save(moving, tmp_path / "plain")
    motion_folder.save(replace(moving, stiffness=tiny_stiffness(1.0)), tmp_path / "model")
    assert sfv.load(tmp_path / "plain").stiffness is None
    loaded = sfv.load(tmp_path / "model")
    assert loaded.stiffness is not None and loaded.hash != sfv.load(tmp_path / "plain").hash
    assert sfv.generate(loaded, card()).settings.stiff == "on"


def test_a_words_strength_is_one_at_the_models_own_motion() -> None:
    assert [strength(asked, 140) for asked in (0, 70, 140, 255)] == [0, 0.5, 1, 1.8]
    assert [strength(asked, usual) for usual in (0, 255) for asked in (0, 255)] == [0, 1.8, 0, 1]
