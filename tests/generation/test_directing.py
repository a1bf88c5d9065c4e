"""Words for motion that a program carries out: which pictures they are for, and that they are seen in the clip."""

from dataclasses import replace

import pytest
import torch
from conftest import wiggle
from faces import face

import sfv
from sfv.errors import SfvError
from sfv.families.base import Judge, VideoModel
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation import directing
from sfv.generation.directing import carrying, cut_sides
from sfv.generation.fitting import first_pixels
from sfv.generation.generate import begin, generate_many
from sfv.media import fit_sticker, over_white
from sfv.settings import CARRIED, Settings
from sfv.types import AnyFirst

SIDE = TINY_MOTION.size


@pytest.fixture(scope="module")
def still_model() -> VideoModel:
    """Fresh: its decoder moves nothing, so that what moves is the program's."""
    return new_motion_model(TINY_MOTION, 0)


@pytest.fixture(scope="module")
def moving() -> VideoModel:
    """Random weights everywhere."""
    return wiggle(new_motion_model(TINY_MOTION, 0))


def card(channels: int = 3, reach: int = SIDE // 4) -> torch.Tensor:
    """A pattern on white, or in the clear, `reach` pixels from the border."""
    picture = torch.full((SIDE, SIDE, channels), 255 if channels == 3 else 0, dtype=torch.uint8)
    inner = torch.randint(0, 256, (SIDE - 2 * reach, SIDE - 2 * reach, 3), generator=torch.Generator().manual_seed(2))
    picture[reach : SIDE - reach, reach : SIDE - reach, :3] = inner.byte()
    if channels == 4:
        picture[reach : SIDE - reach, reach : SIDE - reach, 3] = 255
    return picture


def photo() -> torch.Tensor:
    return torch.randint(0, 256, (SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("word", CARRIED)
@pytest.mark.parametrize("channels", [3, 4])
def test_a_word_moves_the_thing_from_the_picture_and_back(still_model: VideoModel, word: str, channels: int) -> None:
    asked = {"play_fps": 24, "seconds": 2, "transparent": channels == 4, "stiff": "on"}
    frames = sfv.generate(still_model, card(channels), move=word, **asked).frames.float()
    first = sfv.generate(still_model, card(channels), **asked).frames[0].float()
    steps = (frames - frames.roll(1, 0)).abs().mean((1, 2, 3))
    assert (frames[0] - first).abs().max() <= 2, "it begins as the clip without the word"
    assert (frames - frames[0]).abs().mean((1, 2, 3)).max() > 2
    assert steps[0] <= 1.1 * steps.max(), "no seam"
    corner = frames[:, :4, :4]
    assert (corner - corner[0]).abs().max() <= 1, "the ground stays"


def test_the_networks_own_motion_lies_beneath(moving: VideoModel, still_model: VideoModel) -> None:
    """As one body, unless that is refused."""
    assert sfv.generate(moving, card(), move="float").settings.stiff == "on"
    free, both = (sfv.generate(moving, card(), move=w, stiff="off") for w in ("free", "float"))
    assert torch.equal(free.latents, both.latents)
    alone = sfv.generate(still_model, card(), move="float", stiff="off")
    assert not torch.equal(both.frames, alone.frames) and not torch.equal(both.frames, free.frames)


@pytest.mark.parametrize("asked", [{"move": word} for word in CARRIED] + [{"drag": "0.5,0.5:0.5,0.1", "stiff": "on"}])
def test_the_two_together_keep_a_thing_inside(moving: VideoModel, asked: dict[str, str]) -> None:
    """Of a card three pixels from the border nothing is cut by it."""
    clip = sfv.generate(moving, card(4, reach=3), motion=200, transparent=True, play_fps=24, seconds=2, **asked)
    assert clip.alpha is not None
    alpha = clip.alpha[..., 0].float()
    rim = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1)
    assert float((rim > 64).float().mean(1).max()) < 0.01
    assert float((alpha - alpha[0]).abs().amax((1, 2)).max()) > 100, "it moves"


@pytest.mark.parametrize("asked", [{"move": "float"}, {"drag": "0.5,0.8:0.5,0.95"}])
def test_what_the_picture_cuts_off_goes_over_that_edge_as_it_is(still_model: VideoModel, asked: dict[str, str]) -> None:
    """A bust is as large when it goes down as it was, and shows no ground below when it is up."""
    bust = card(4)
    bust[SIDE // 4 :, SIDE // 4 : -SIDE // 4] = torch.tensor([90, 60, 30, 255], dtype=torch.uint8)
    clip = sfv.generate(still_model, bust, transparent=True, stiff="on", **asked)
    assert clip.alpha is not None
    solid = clip.alpha[..., 0] > 128
    wide = solid.any(1).sum(1)
    assert int(wide.min()) >= SIDE // 2 - 1 and bool(solid[:, -1].any(1).all())
    assert int(solid.sum((1, 2)).min()) < 0.97 * int(solid[0].sum())


def bust(height: int, width: int, channels: int) -> torch.Tensor:
    """A head and shoulders cut off by the lower edge, in the clear or on white."""
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / height, indexing="ij")
    middle = width / height / 2
    there = ((x - middle) ** 2 + (y - 0.4) ** 2 < 0.04) | (((x - middle) / 0.45) ** 2 + ((y - 1.05) / 0.45) ** 2 < 1)
    inner = torch.stack([90 + 0 * x, 60 + 0 * x, 30 + 0 * x], -1)
    if channels == 3:
        return torch.where(there[..., None], inner, 255).byte()
    return torch.cat([inner * there[..., None], 255 * there[..., None]], -1).byte()


@pytest.mark.parametrize(
    "size", [(300, 400), (384, 512), (406, 512), (340, 512), (182, 256), (128, 96), (1000, 1500), (64, 64)]
)
@pytest.mark.parametrize("channels", [3, 4])
def test_what_cuts_a_thing_off_is_seen_at_any_size(
    still_model: VideoModel, size: tuple[int, int], channels: int
) -> None:
    """Whatever the scale: in the network's frame the border of most pictures lies between pixels."""
    start = begin(still_model, bust(*size, channels), {"move": "float", "transparent": channels == 4})
    first = first_pixels(still_model, start.still)
    assert cut_sides(first, start.still).tolist() == [[False, False], [False, True]]
    clip = sfv.generate(still_model, bust(*size, channels), move="float", transparent=channels == 4)
    last = clip.frames[:, -1].float()
    middle = last[:, last.shape[1] * 2 // 5 : last.shape[1] * 3 // 5]
    assert float((middle - torch.tensor([90.0, 60, 30])).abs().amax(2).mean()) < 8, "no ground shows below"


@pytest.mark.parametrize(
    ("growth", "cut"), [(-0.5, True), (0.0, True), (0.15, True), (0.5, False), (1.0, False)]
)  # of each half, by depth: shoulders, straight walls, a waist; a base seen from above
@pytest.mark.parametrize("height", [128, 333])
def test_what_soon_gets_wider_inside_was_trimmed(
    still_model: VideoModel, growth: float, cut: bool, height: int
) -> None:
    """It ends at the edge, by which nothing is cut off."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(height), indexing="ij")
    there = (x - height // 2).abs() < (height // 4 + growth * (height - 1 - y)).clamp(min=height // 8)
    there &= y > height // 5
    sticker = (torch.tensor([90, 60, 30, 255]) * there[..., None]).byte()
    start = begin(still_model, sticker, {"move": "bounce", "transparent": True})
    found = cut_sides(first_pixels(still_model, start.still), start.still)
    assert found.tolist() == [[False, False], [False, cut]]


def test_a_bust_that_spins_shows_where_it_was_cut(still_model: VideoModel) -> None:
    """It is not drawn out to the corners."""
    clip = sfv.generate(still_model, bust(SIDE, SIDE, 4), move="spin", transparent=True, play_fps=8)
    assert clip.alpha is not None
    solid = (clip.alpha[..., 0] > 128).float().mean((1, 2))
    assert float(solid.max()) < 1.05 * float(solid[0])


def test_a_word_and_an_arrow_together_keep_a_thing_whole(still_model: VideoModel) -> None:
    """As it spins and goes up it is one thing still, and inside."""
    asked = {"transparent": True, "play_fps": 24, "seconds": 2, "stiff": "on"}
    clip = sfv.generate(still_model, card(4), move="spin", drag="0.5,0.5:0.5,0.1", **asked)
    assert clip.alpha is not None
    alpha = clip.alpha[..., 0].float() / 255
    rim = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1)
    assert float(alpha.sum((1, 2)).max()) < 1.03 * float(alpha[0].sum()) and float(rim.max()) < 0.5
    middle = (alpha.sum(2) * torch.arange(SIDE)).sum(1) / alpha.sum((1, 2))
    assert float(middle.min()) < float(middle[0]) - 5, "it went up"


@pytest.mark.parametrize("word", ["spin", "wave"])
@pytest.mark.parametrize(("picture", "why"), [(photo(), "nothing stands out"), (card(reach=0), "nothing stands out")])
def test_what_cannot_be_cut_out_is_refused(still_model: VideoModel, word: str, picture: torch.Tensor, why: str) -> None:
    with pytest.raises(SfvError, match=f"move {word}: {why}.*shake, float"):
        sfv.generate(still_model, picture, move=word)


def test_a_thing_that_reaches_over_the_border_is_refused(still_model: VideoModel) -> None:
    picture = card()
    picture[: SIDE // 2, 20:44] = photo()[: SIDE // 2, 20:44]
    with pytest.raises(SfvError, match="move spin: the thing in this picture reaches over its border"):
        sfv.generate(still_model, picture, move="spin")


def test_a_photo_shakes_at_one_size_and_shows_no_border(still_model: VideoModel) -> None:
    """Where every place of a frame is taken from lies in the photo, and its two edges move alike."""
    start = begin(still_model, photo(), {"move": "shake"})
    first = first_pixels(still_model, start.still)
    flow = carrying(start, first, torch.arange(24) / 24, None)
    columns = torch.arange(SIDE) + flow[:, 0]
    assert columns.min() > -0.5 and columns.max() < SIDE - 0.5
    wide = columns[..., -1] - columns[..., 0]
    assert (wide - wide[0]).abs().max() < 1e-3 and (columns - columns[:1]).abs().max() > 0.5


def test_what_lies_outside_the_shown_part_is_not_the_body(still_model: VideoModel) -> None:
    """A wide picture, whose edge is drawn outward to a square for the network: its first frame is itself."""
    picture = card()[SIDE // 4 : -SIDE // 4]
    start = begin(still_model, picture, {"move": "float"})
    flow = carrying(start, first_pixels(still_model, start.still), torch.arange(24) / 24, None)
    assert flow[0].abs().max() < 1e-3 and flow[6].abs().max() > 0.5


def test_a_mask_holds_what_is_shaken_and_refuses_a_spin(still_model: VideoModel) -> None:
    mask = torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)
    mask[:, : SIDE // 2] = 255
    clip = sfv.generate(still_model, card(), move="shake", keep_still=mask)
    held, free = clip.frames[:, :, : SIDE // 2].float(), clip.frames[:, :, SIDE // 2 + 8 :].float()
    assert (held - held[0]).abs().max() == 0 and (free - free[0]).abs().mean((1, 2, 3)).max() > 2
    with pytest.raises(SfvError, match="move spin: .* leave the mask out"):
        sfv.generate(still_model, card(), move="spin", keep_still=mask)


def test_an_arrow_moves_what_lies_at_its_start(still_model: VideoModel) -> None:
    """And nothing far from it; with a word for motion as well."""
    asked = {"play_fps": 24, "seconds": 2, "stiff": "off"}
    frames = sfv.generate(still_model, card(), drag="0.3,0.3:0.2,0.2", **asked).frames.float()
    moved = (frames - frames[0]).abs().mean(3).amax(0)
    assert moved[: SIDE // 3, : SIDE // 3].mean() > 5 and moved[SIDE // 2 :, SIDE // 2 :].mean() < 3
    both = sfv.generate(still_model, card(), drag="0.3,0.3:0.2,0.2", move="float", **asked).frames.float()
    assert (both - frames).abs().amax() > 20


def test_an_arrow_is_one_of_the_picture_whatever_the_fit(still_model: VideoModel) -> None:
    """A wide picture, whole in a square frame, cropped to it, and in its own shape."""
    wide = card()[SIDE // 4 : -SIDE // 4]
    arrows = [
        begin(still_model, wide, {"drag": "0.5,0.25:0.5,0.75", "fit": fit}).arrow for fit in ("own", "pad", "crop")
    ]
    starts = [arrow.start for arrow in arrows if arrow is not None]
    assert starts == [pytest.approx((0, -0.125)), pytest.approx((0, -0.125)), pytest.approx((0, -0.25))]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"drag": "0.02,0.02:0.5,0.5"}, "drag 0.02,0.02:0.5,0.5: nothing lies where the arrow starts"),
        ({"drag": "0.5,0.5:0.5,0.505"}, "the arrow has no length"),
        ({"drag": "0.5,0.5"}, "must be FROM_X,FROM_Y:TO_X,TO_Y"),
        ({"drag": "0.5,0.5:1.2,0.5"}, "must be FROM_X,FROM_Y:TO_X,TO_Y"),
    ],
)
def test_an_arrow_that_drags_nothing_is_refused(still_model: VideoModel, asked: dict[str, str], why: str) -> None:
    with pytest.raises((SfvError, ValueError), match=why):
        sfv.generate(still_model, card(), **asked)


def test_an_arrow_under_a_mask_is_refused(still_model: VideoModel) -> None:
    mask = torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)
    mask[:, : SIDE // 2] = 255
    with pytest.raises(SfvError, match="the mask keeps still where the arrow starts"):
        sfv.generate(still_model, card(), drag="0.3,0.5:0.5,0.5", keep_still=mask)
    clip = sfv.generate(still_model, card(), drag="0.7,0.5:0.6,0.4", stiff="off", keep_still=mask)
    held = clip.frames[:, :, : SIDE // 2].float()
    assert (held - held[0]).abs().max() == 0


def test_a_photo_is_dragged_within_its_border(still_model: VideoModel) -> None:
    for stiff in ("off", "on"):
        frames = sfv.generate(still_model, photo(), drag="0.5,0.5:0.6,0.5", stiff=stiff).frames.float()
        assert (frames - frames[0]).abs().amax() > 20
    free = sfv.generate(still_model, photo(), drag="0.5,0.5:0.6,0.5", stiff="off").frames.float()
    assert (free[:, :2] - free[0, :2]).abs().mean() < 1 < (free - free[0]).abs().mean() / 3


def faced(channels: int) -> torch.Tensor:
    """A face at the model's size, on white or in the clear."""
    sticker = fit_sticker(face(white=True).sticker, SIDE, SIDE)
    return sticker if channels == 4 else over_white(sticker)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", ["own", "large"])
def test_eyes_close_and_open(still_model: VideoModel, channels: int, size: str) -> None:
    """In some frames, near the eyes alone, at the network's size and larger; the same in a batch."""
    asked = {
        "play_fps": 24,
        "seconds": 2,
        "transparent": channels == 4,
        "size": str(SIDE if size == "own" else 2 * SIDE),
    }
    picture = faced(channels)
    open_, blinks = (sfv.generate(still_model, picture, move=w, **asked) for w in ("free", "blink"))
    changed = (open_.frames.int() - blinks.frames.int()).abs().amax(3) > 30
    frames = changed.flatten(1).any(1)
    assert 4 <= int(frames.sum()) <= 12 and not frames[0] and blinks.settings.stiff == "off"
    part = changed.any(0).float()
    upper = part[part.shape[0] // 4 : part.shape[0] // 2 + part.shape[0] // 10]
    assert upper.sum() == part.sum() > 20
    many = generate_many(still_model, [picture], Settings.model_validate(asked | {"move": "blink"}), [0])[0]
    assert (many.frames.int() - blinks.frames.int()).abs().max() <= 1


class Sure(Judge):
    """Says the same of every picture."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def judged(self, pictures: AnyFirst) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(pictures),), self.logit), torch.zeros(len(pictures))


@pytest.mark.parametrize(
    ("logit", "picture", "move"),
    [(-1.0, faced(3), "blink"), (0.4, faced(3), "blink"), (0.49, faced(3), "free"), (-1.0, card(), "free")],
)
def test_faces_blink_by_themselves(still_model: VideoModel, logit: float, picture: torch.Tensor, move: str) -> None:
    """As by the word, and no face of what is stiff; the file says `free` or `blink`, so a replay needs no judgement."""
    model = replace(still_model, stiffness=Sure(logit))
    clip, word = (sfv.generate(model, picture, play_fps=24, seconds=2, **asked) for asked in ({}, {"move": move}))
    assert clip.settings == word.settings and clip.settings.move == move and torch.equal(clip.frames, word.frames)
    many = generate_many(model, [picture], Settings(play_fps=24, seconds=2), [0])[0]
    assert many.settings.move == move and (many.frames.int() - clip.frames.int()).abs().max() <= 1


def test_no_face_blinks_by_itself_in_part_or_in_short_rounds(
    still_model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round has one blink at least, and half a lid is worse than none."""
    model, picture = replace(still_model, stiffness=Sure(-1.0)), faced(3)
    assert [begin(model, picture, {"seconds": s}).want.move for s in (1.9, 2)] == ["free", "blink"]
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for held in (x < SIDE // 2, y > SIDE * 3 // 8, y >= 0):
        mask = (held[..., None] * 255).to(torch.uint8).expand(-1, -1, 3)
        assert begin(model, picture, {"seconds": 2}, mask).want.move == "free"
    monkeypatch.setattr(directing, "SURE", -9.0)
    for logit, move in ((0.4, "blink"), (0.6, "free")):
        assert begin(replace(model, stiffness=Sure(logit)), picture, {"seconds": 2}).want.move == move


def test_no_face_blinks_by_itself_where_nothing_judges_pictures(still_model: VideoModel, tiny: VideoModel) -> None:
    assert still_model.stiffness is None and sfv.generate(still_model, faced(3), seconds=2).settings.move == "free"
    assert sfv.generate(tiny, faced(3)).settings.move == "free"


def test_a_picture_without_open_eyes_does_not_blink(still_model: VideoModel) -> None:
    with pytest.raises(SfvError, match="move blink: no pair of open eyes"):
        sfv.generate(still_model, card(), move="blink")


def test_a_mask_over_the_eyes_refuses_a_blink(still_model: VideoModel) -> None:
    """Over one eye it is a wink."""
    mask = torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)
    mask[:, : SIDE // 2] = 255
    frames = sfv.generate(still_model, faced(3), move="blink", keep_still=mask, play_fps=24).frames.float()
    changed = (frames - frames[0]).abs().amax((0, 3)) > 30
    assert changed[:, SIDE // 2 :].any() and not changed[:, : SIDE // 2].any()
    mask[: SIDE * 3 // 4] = 255
    with pytest.raises(SfvError, match="move blink: the mask keeps the eyes still"):
        sfv.generate(still_model, faced(3), move="blink", keep_still=mask)


def test_a_clip_begins_with_the_strength_of_what_is_asked(still_model: VideoModel) -> None:
    """One clip alone, and several at once."""
    usual = still_model.defaults.motion
    begun = [begin(still_model, card(), {"move": "shake", "motion": m}).much for m in (usual / 2, usual)]
    assert begun == [0.5, 1]
    asked = {"move": "shake", "motion": usual / 2, "seed": 3}
    (many,) = generate_many(still_model, [card()], Settings.model_validate(asked), [3])
    assert torch.equal(many.frames, sfv.generate(still_model, card(), **asked).frames)
    assert not torch.equal(many.frames, sfv.generate(still_model, card(), move="shake", seed=3).frames)
