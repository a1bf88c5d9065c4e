"""The clip has the picture's own shape; what lies around it in the network's frame is cut off again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfv
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation.fitting import resolve
from sfv.generation.framing import cut, framed, own_size
from sfv.settings import LONGEST, Settings

OWN = Settings(fit="own")


@pytest.fixture(scope="module")
def moving() -> VideoModel:
    """Whole loops of 64 x 64, whose decoder moves the picture."""
    return new_motion_model(TINY_MOTION, seed=0)


def noise(height: int, width: int, channels: int = 3) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (height, width, channels), dtype=torch.uint8, generator=rng)


@given(st.integers(8, 3000), st.integers(8, 3000))
def test_sizes_are_even_of_one_aspect_and_at_most_512(height: int, width: int) -> None:
    h, w = own_size(height, width, OWN, 128)
    assert h % 2 == w % 2 == 0 and max(h, w) <= LONGEST and max(h, w) >= 127
    assert abs(h * width - w * height) <= 2 * max(height, width) or min(h, w) == 2
    assert own_size(h, w, OWN, 128) == (h, w), "a replay begins with the clip's own picture"


@pytest.mark.parametrize(
    ("shape", "size", "clip"),
    [
        ((300, 2000), None, (76, 512)),
        ((640, 480), None, (512, 384)),
        ((200, 300), None, (200, 300)),
        ((16, 16), None, (64, 64)),
        ((300, 2000), "256", (38, 256)),
        ((100, 50), "96x128", (96, 128)),
        ((64, 64), None, (64, 64)),
    ],
)
def test_a_clip_has_the_pictures_shape(
    shape: tuple[int, int], size: str | None, clip: tuple[int, int], moving: VideoModel
) -> None:
    made = sfv.generate(moving, noise(*shape), steps=1, guidance=1, size=size)
    assert tuple(made.frames.shape[1:3]) == clip == tuple(made.picture.shape[:2])
    clear = sfv.generate(moving, noise(*shape, 4), steps=1, guidance=1, size=size, transparent=True)
    assert clear.alpha is not None and clear.sticker is not None
    assert tuple(clear.stickers().shape[1:3]) == clip == tuple(clear.sticker.shape[:2])


def test_a_still_clip_is_the_picture(moving: VideoModel) -> None:
    """Nothing moves where the latents say so: the first frame, whatever the shape."""
    picture = noise(40, 100).float().mean(2, keepdim=True).expand(-1, -1, 3).to(torch.uint8)
    made = sfv.generate(moving, picture, steps=1, guidance=1)
    assert made.frames.shape[1:3] == made.picture.shape[:2] == (40, 100)


def test_around_an_opaque_picture_its_edge_goes_on_and_around_a_sticker_nothing_is() -> None:
    wide = framed(noise(20, 100), OWN, (64, 64))
    assert wide.whole.shape == (100, 100, 3) and wide.box == (40, 0, 20, 100)
    assert torch.equal(wide.whole[:40], wide.whole[40:41].expand(40, -1, -1))
    assert torch.equal(cut(wide.whole, wide.box), noise(20, 100))
    clear = framed(noise(20, 100, 4), OWN, (64, 64))
    assert not clear.whole[:40].any() and not clear.whole[60:].any()
    assert framed(noise(64, 64), OWN, (64, 64)).box is None


def test_icons_keep_their_hard_pixels() -> None:
    icon = torch.zeros(16, 16, 3, dtype=torch.uint8)
    icon[4:8] = 255
    big = framed(icon, OWN, (128, 128)).whole
    assert big.shape == (128, 128, 3) and set(big.unique().tolist()) == {0, 255}


def test_a_mask_follows_the_shape(moving: VideoModel) -> None:
    mask = torch.full((40, 100, 3), 255, dtype=torch.uint8)
    made = sfv.generate(moving, noise(40, 100), steps=1, guidance=1, keep_still=mask)
    assert torch.equal(made.frames, made.picture.expand_as(made.frames))


@pytest.mark.parametrize("shape", [(77, 512), (51, 75)])
def test_a_mask_covers_a_shape_that_is_rounded(moving: VideoModel, shape: tuple[int, int]) -> None:
    mask = torch.full((*shape, 3), 255, dtype=torch.uint8)
    made = sfv.generate(moving, noise(*shape), steps=1, guidance=1, keep_still=mask)
    assert torch.equal(made.frames, made.picture.expand_as(made.frames))


def test_around_an_opaque_sticker_its_edge_goes_on() -> None:
    opaque = noise(20, 100, 4)
    opaque[..., 3] = 255
    assert torch.equal(framed(opaque, OWN, (64, 64)).whole[:40], opaque[:1].expand(40, -1, -1))


def test_around_a_thing_that_touches_its_plain_ground_goes_on() -> None:
    """And the edge of a plain ground that nothing touches, or of one that is not plain."""
    ground = torch.tensor([200, 180, 30], dtype=torch.uint8)
    picture = ground.expand(20, 100, 3).clone()
    picture[:12, 40:60] = 10
    made = framed(picture, OWN, (64, 64))
    assert torch.equal(cut(made.whole, made.box), picture)
    for part in (made.whole[:40], made.whole[60:]):
        assert (part == ground).all()
    picture[:4] = ground
    picture[:, ::2] -= 3
    assert torch.equal(framed(picture, OWN, (64, 64)).whole[:40], picture[:1].expand(40, -1, -1))


def test_a_picture_too_thin_for_a_frame_is_refused(moving: VideoModel) -> None:
    with pytest.raises(SfvError, match="2000x2 is too thin for 64x64; use fit own or crop"):
        sfv.generate(moving, noise(2, 2000), fit="pad")


def test_filled_settings_are_settings_again(moving: VideoModel) -> None:
    """As clips and jobs keep them: beside `size` stand the network's own height and width."""
    full = resolve(Settings(size="320x160"), moving)
    assert resolve(Settings.model_validate_json(full.model_dump_json()), moving) == full
    with pytest.raises(SfvError, match="size 320x160 goes without height and width"):
        resolve(Settings(size="320x160", height=32, width=32), moving)


def test_what_decides_the_shape(moving: VideoModel, tiny: VideoModel) -> None:
    assert resolve(Settings(), moving).fit == "own" and resolve(Settings(), tiny).fit == "pad"
    assert resolve(Settings(enlarge=2), moving).fit == "pad" and resolve(Settings(height=64), moving).fit == "pad"
    assert resolve(Settings(size="100x50"), moving).fit == "pad" and resolve(Settings(fit="crop"), moving).fit == "crop"
    for wrong in (Settings(fit="own"), Settings(size="512")):
        with pytest.raises(SfvError, match="only a decoder that moves the picture"):
            resolve(wrong, tiny)
    with pytest.raises(SfvError, match="size 4000: at most 2048 pixels a side"):
        resolve(Settings(size="4000"), moving)
    for clash in ({"size": "512", "enlarge": 2}, {"size": "64x64", "fit": "own"}):
        with pytest.raises(ValueError, match="size"):
            Settings(**clash)
    for odd in ("0", "12x", "x12", "a", "12x0", "-5"):
        with pytest.raises(ValueError, match="size"):
            Settings(size=odd)
