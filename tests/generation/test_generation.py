"""One call from picture to clip: seeds, batches, sizes, counts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import picture

import sfv
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation.generate import again, check_mask, generate, generate_many
from sfv.limits import resolve, shown
from sfv.settings import Settings


def test_one_step_really_calls_the_network_once(tiny: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, calls = tiny.denoiser.unet, []  # type: ignore[union-attr]
    hook = unet.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr,operator]
    clip = generate(tiny, picture(), steps=1, guidance=1)
    guided = generate(tiny, picture(), steps=3, guidance=2.0)
    hook.remove()
    assert (len(calls), clip.calls) == (1 + 3, 1)
    assert guided.calls == 6
    assert clip.frames.shape == (4, 32, 32, 3) and clip.frames.dtype == torch.uint8
    assert set(clip.seconds) == {"encode", "unet", "decode"}


def test_same_seed_same_clip_other_seed_other_clip(tiny: VideoModel) -> None:
    one, same, other = (generate(tiny, picture(), steps=1, guidance=1, seed=s) for s in (5, 5, 6))
    assert torch.equal(one.frames, same.frames)
    assert not torch.equal(one.latents, other.latents)


@pytest.mark.parametrize("sampler", ["euler", "consistency"])
def test_clips_of_a_batch_are_those_made_alone(tiny: VideoModel, sampler: str) -> None:
    pictures, want = [picture(seed=s) for s in range(3)], Settings(steps=2, sampler=sampler, guidance=1)  # type: ignore[arg-type]
    together = generate_many(tiny, pictures, want, [7, 8, 9])
    for clip, source, seed in zip(together, pictures, (7, 8, 9), strict=True):
        alone = generate(tiny, source, want, seed=seed)
        assert clip.settings == alone.settings and clip.calls == alone.calls
        torch.testing.assert_close(clip.latents, alone.latents, rtol=1e-4, atol=1e-4)
        assert (clip.frames.int() - alone.frames.int()).abs().max() <= 1
        assert set(clip.seconds) == set(alone.seconds)


def test_frames_height_and_width_are_free(tiny: VideoModel) -> None:
    clip = generate(tiny, picture(), steps=1, guidance=1, frames=7, height=48, width=64)
    assert clip.frames.shape == (7, 48, 64, 3)


def test_progress_is_reported(tiny: VideoModel) -> None:
    seen: list[tuple[int, int]] = []
    generate(tiny, picture(), Settings(steps=3), watch=lambda done, steps: seen.append((done, steps)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"height": 33}, "multiples of 2"),
        ({"steps": 0}, "steps 0: input should be greater than 0"),
        ({"seed": -1}, "seed -1: input should be greater than or equal to 0"),
        ({"drag": "x"}, "drag 'x' must be FROM_X"),
        ({"seconds": 2, "fps": 8}, "seconds 2 goes without fps"),
        ({"frames": 1}, "greater than or equal to 2"),
        ({"frames": 200, "height": 4096, "width": 4096}, "too much"),
        ({"fit": "stretch"}, "pad"),
        ({"sharpness": 3}, "sharpness is no setting; choose from steps, seed"),
    ],
)
def test_impossible_settings(tiny: VideoModel, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SfvError, match=says):
        generate(tiny, picture(), **changes)


def test_an_impossible_seed_of_a_batch_is_one_sentence(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="seed -1: input should be"):
        generate_many(tiny, [picture()], Settings(), [-1])


def test_every_picture_of_a_batch_needs_a_seed(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="2 pictures and 1 seeds"):
        generate_many(tiny, [picture(), picture()], Settings(), [3])
    assert generate_many(tiny, [], Settings(), []) == []


def test_an_empty_picture_is_refused(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match=r"the picture is uint8 of shape \(0, 5, 3\); give uint8"):
        generate(tiny, torch.zeros(0, 5, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(32, 32, dtype=torch.uint8),
        torch.zeros(32, 32, 4, dtype=torch.uint8),
        torch.zeros(32, 32, 1, dtype=torch.uint8),
        torch.zeros(32, 32, 3),
        torch.zeros(0, 0, 3, dtype=torch.uint8),
    ],
)
def test_a_mask_that_is_no_picture_is_one_sentence(mask: torch.Tensor) -> None:
    with pytest.raises(SfvError, match=r"keep_still is .* of shape .*; give uint8 of \(height, width, 3\)"):
        check_mask(mask)


def test_generate_checks_its_mask() -> None:
    """In a process of its own: here types are checked before anything runs."""
    code = (
        "import torch; from sfv.errors import SfvError; from sfv.generation.generate import begin\n"
        "from sfv.families.motion.networks import TINY_MOTION, new_motion_model\n"
        "model = new_motion_model(TINY_MOTION, 0)\n"
        "for shape in ((64, 64), (64, 64, 4)):\n"
        "    try: begin(model, torch.zeros(64, 64, 3, dtype=torch.uint8), {}, torch.zeros(shape, dtype=torch.uint8))\n"
        "    except SfvError as error: print(error)\n"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert [line.partition(";")[0] for line in said] == [
        "keep_still is uint8 of shape (64, 64)",
        "keep_still is uint8 of shape (64, 64, 4)",
    ]


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (Settings(frames=200, fps=2, play_fps=60, size="128"), 6000),
        (Settings(frames=40, seconds=20, play_fps=30, boomerang=True), 1198),
    ],
)
def test_a_clip_has_so_many_frames_at_most(asked: Settings, count: int) -> None:
    """However small they are, and counted there and back."""
    limits = new_motion_model(TINY_MOTION, 0).limits
    with pytest.raises(SfvError, match=f"{count} frames played are too many for one clip, which has 1000 at most"):
        resolve(asked, limits)
    assert shown(resolve(Settings(frames=40, seconds=20, play_fps=50), limits)) == 1000
    assert shown(resolve(Settings(boomerang=True), limits)) == 2 * shown(resolve(Settings(), limits)) - 2


@pytest.mark.parametrize("size", ["2x2048", "2048x2", "64x2048"])
def test_a_narrow_clip_counts_what_it_is_cut_from(size: str) -> None:
    """Frames are made in the network's shape, here 2048 x 2048."""
    limits = new_motion_model(TINY_MOTION, 0).limits
    with pytest.raises(SfvError, match=rf"600 frames of {size}, cut from 2048x2048, are too much for one clip"):
        resolve(Settings(size=size, frames=24, seconds=10, play_fps=60), limits)


@pytest.mark.parametrize("rate", [50, 51])
@pytest.mark.parametrize("size", ["1080x1920", "1920x1080", "512"])
def test_ordinary_sizes_count_their_own_pixels(size: str, rate: int) -> None:
    """Of 1080 x 1920 a clip may have 202 frames."""
    asked, limits = Settings(size=size, frames=24, seconds=4, play_fps=rate), new_motion_model(TINY_MOTION, 0).limits
    if rate == 51 and size != "512":
        with pytest.raises(SfvError, match="204 frames of .* are too much for one clip"):
            resolve(asked, limits)
    else:
        assert resolve(asked, limits).size == size


def test_frames_may_be_edited(tiny: VideoModel) -> None:
    """Tensors of torch's inference mode may not."""
    clear = torch.full((32, 32, 4), 200, dtype=torch.uint8)
    looping = generate(new_motion_model(TINY_MOTION, 0), clear, transparent=True)
    clips = [generate(tiny, picture(), steps=1), looping, *generate_many(tiny, [picture()], Settings(steps=1), [1])]
    again_ = again(tiny, clips[0].picture, clips[0].settings, None, None)
    for clip in [*clips, again_]:
        for tensor in (clip.frames, clip.alpha, clip.latents, clip.picture, clip.sticker):
            if tensor is not None:
                tensor[:, :8] = 0
                assert not tensor.requires_grad
    assert looping.alpha is not None
    looping.stickers()[:, :8] = 0


def test_unknown_knobs_are_refused(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="unknown knob 'zoom'"):
        tiny.conditioner(torch.zeros(1, 3, 32, 32), zoom=3)


def test_public_names() -> None:
    assert sfv.__all__ == sorted(sfv.__all__)
    for name in sfv.__all__:
        assert getattr(sfv, name) is not None
    assert callable(sfv.generate) and set(sfv.__all__) <= set(dir(sfv))
    with pytest.raises(AttributeError):
        _ = sfv.nothing


WRONG = {
    "sfv.generate(m, None)": "the picture is a NoneType, not a torch tensor; read a file with read_picture",
    "sfv.generate(m, 'cat.png')": "the picture is a str, not a torch tensor",
    "sfv.generate(m, p.numpy())": "the picture is a ndarray, not a torch tensor",
    "sfv.generate(m, p, keep_still='mask.png')": "keep_still is a str, not a torch tensor",
    "sfv.generate('sticker', p)": "the model is a str; open one with sfv.load",
    "sfv.generate(m, p, {'seed': 1})": "settings is a dict; give Settings, or its fields by name",
    "sfv.check_sticker('nowhere.webm', 'telegram')": "nowhere.webm does not exist",
    "sfv.write_clip(f, 'x.mp4', float('nan'))": "fps nan: must be 0.01 to 1000",
    "sfv.write_clip(f, 'x.gif', -1)": "fps -1: must be",
    "sfv.write_clip(f, 'x.mp4', 0)": "fps 0: must be",
    "sfv.write_clip(f.float(), 'x.mp4', 8)": "frames is float32 of shape (2, 64, 64, 3); give uint8",
    "sfv.write_clip(f[:0], 'x.mp4', 8)": "frames is uint8 of shape (0, 64, 64, 3); give uint8",
    "sfv.write_clip(f.numpy(), 'x.mp4', 8)": "frames is a ndarray; give a torch tensor",
    "sfv.write_clip(f, 'x.png', 8, level=1000)": "level 1000: must be 0 to 256",
    "sfv.read_picture(bytes(50_000))": "the picture is given as bytes; give a path, or io.BytesIO of these bytes",
    "sfv.read_sticker(p.numpy())": "the picture is a ndarray; give a file's path",
    "sfv.read_picture(__import__('PIL.Image').Image.new('RGB', (9, 9)))": "the picture is a Image; give a file's path",
    "sfv.read_picture(p)": "the picture is a Tensor; give a file's path",
    "sfv.read_picture(None)": "the picture is a NoneType; give a file's path",
    "sfv.write_clip(f, 'x.mp4', '24')": "fps is a str; give a number",
    "sfv.write_clip(f, 'x.png', 8, level='9')": "level is a str; give a number",
    "sfv.write_clip(f, 'x.png', 8, plays=-1)": "plays -1: must be 0",
    "sfv.generate(m, p, watch=3)": "watch is a int; give a function of (done, steps)",
    "sfv.average('sticker', 'sticker')": "models is one name, sticker; give a list of two or more",
    "sfv.write_for(None, 'slack', 's.webm')": "s.webm: slack takes gif; let the name end in .gif",
}


def test_what_is_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    """In a process of its own: here types are checked before anything runs."""
    code = (
        "import json, sys, torch, sfv\n"
        "from sfv.families.motion.networks import TINY_MOTION, new_motion_model\n"
        "m, p = new_motion_model(TINY_MOTION, 0), torch.zeros(64, 64, 3, dtype=torch.uint8)\n"
        "f, said = p.expand(2, -1, -1, -1), []\n"
        "for call in json.loads(sys.argv[1]):\n"
        "    try: said.append(repr(eval(call)))\n"
        "    except sfv.SfvError as error: said.append(str(error))\n"
        "print(json.dumps(said))"
    )
    command = [sys.executable, "-c", code, json.dumps(list(WRONG))]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for (call, says), said in zip(WRONG.items(), json.loads(ended.stdout), strict=True):
        assert says in said and len(said) < 200, call
    assert not list(tmp_path.iterdir())
