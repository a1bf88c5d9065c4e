"""Whole loops: the codec of what changes, its family on disk, its clips, and every part's training at toy size."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from trainers import train_part

import sfv
from sfv.cli.main import main
from sfv.data.loops import (
    PROGRAMS,
    STILL_NAMES,
    STILL_SIDE,
    STILLS,
    DrawnLoop,
    LoopSource,
    ProgrammedLoop,
    affine,
    over,
    pose,
    premultiplied,
)
from sfv.data.stickers import ClipStore
from sfv.data.stiff_pictures import StiffPictures, is_flag
from sfv.decoding.warping import moved, warped
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load_stock
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.codec import MotionCodecConfig, MotionDecoder, Pyramid, twice_as_fine
from sfv.families.motion.graphs import Parts
from sfv.families.motion.networks import TINY_MOTION, MotionCodec, MotionConditioner, PictureTower, new_motion_model
from sfv.families.motion.stiffness import Stiffness
from sfv.families.svd.folder import hash_of
from sfv.families.svd.network import weight_files
from sfv.generation.finishing import CALM, HURRY, SLOWEST, around, eased, hurried
from sfv.generation.generate import begin, encoded, finish
from sfv.media.pixels import as_layers, laid_over, opacity
from sfv.settings import MOVES
from sfv.speed.onnx import graphs
from sfv.speed.optimize import optimize
from sfv.training.health import read_alarms
from sfv.training.loop_batches import LoopBatches
from sfv.training.presets import stages
from sfv.training.seeds import Seeds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights everywhere."""
    model = wiggle(new_motion_model(TINY_MOTION, 0))
    path = tmp_path_factory.mktemp("loops") / "tiny"
    motion_folder.save(model, path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoModel:
    return sfv.load(folder, decode_dtype=torch.float32)


def sticker(side: int = 64) -> torch.Tensor:
    """A disc with a soft edge on a transparent ground."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    middle, radius = (side - 1) / 2, side / 3
    alpha = ((radius - ((y - middle) ** 2 + (x - middle) ** 2).sqrt()).clamp(0, 1) * 255).byte()
    colour = torch.tensor([200, 90, 30], dtype=torch.uint8).expand(side, side, 3)
    return torch.cat([colour, alpha[..., None]], -1)


@pytest.mark.parametrize("finer", [1, 3])
def test_wide_maps_are_moved_as_grid_sample_moves_them(finer: int) -> None:
    """Two clips of three frames, far beyond the borders too: with a gradient it is grid_sample, without the table."""
    made = torch.Generator().manual_seed(0)
    maps, flow = torch.randn(2, 20, 6 * finer, 8 * finer, generator=made), 5 * torch.randn(6, 2, 6, 8, generator=made)
    with torch.no_grad():
        quick = warped(maps, flow)
    torch.testing.assert_close(quick, warped(maps, flow), atol=1e-5, rtol=1e-5)
    assert not quick.requires_grad and warped(maps.requires_grad_(), flow).requires_grad


def test_a_convolution_of_repeated_maps_needs_no_repetition() -> None:
    layer, maps = torch.nn.Conv2d(5, 2, 3, padding=1), torch.randn(2, 5, 4, 6)
    want = layer(torch.nn.functional.interpolate(maps, scale_factor=2))
    made = torch.nn.functional.pixel_shuffle(twice_as_fine(layer, maps), 2)
    torch.testing.assert_close(made, want, atol=1e-5, rtol=1e-5)


def test_the_picture_itself_is_zero_and_decoding_needs_it(model: VideoModel) -> None:
    pixels = torch.rand(2, 3, 4, 64, 64) * 2 - 1
    z = model.codec.encode(pixels)
    assert z.shape == (2, 3, 4, 4, 4) and not z[:, 0].any() and z[:, 1:].abs().max() > 0
    opaque = torch.cat([pixels[:, :, :3], torch.ones(2, 3, 1, 64, 64)], 2)
    torch.testing.assert_close(model.codec.encode(pixels[:, :, :3]), model.codec.encode(opaque))
    with pytest.raises(SfvError, match="give the picture"):
        model.codec.decode(z)


def test_a_clip_does_not_depend_on_its_batch_or_its_chunks(model: VideoModel) -> None:
    pixels = torch.rand(2, 4, 4, 64, 64) * 2 - 1
    z = model.codec.encode(pixels)
    both = model.codec.decode(z, picture=pixels[:, 0])
    alone = model.codec.decode(z[1:], picture=pixels[1:, 0])
    torch.testing.assert_close(both[1:], alone)
    parts = torch.cat([model.codec.decode(part, picture=pixels[1:, 0]) for part in z[1:].split(1, 1)], 1)
    torch.testing.assert_close(alone, parts, atol=1e-5, rtol=1e-5)


def test_a_pyramid_below_zero_everywhere_can_come_back() -> None:
    """Every channel of every level is negative; its weights still have a gradient."""
    pyramid = Pyramid((8, 8, 8))
    with torch.no_grad():
        for name, p in pyramid.named_parameters():
            p.fill_(-1.0 if name.endswith(("entry.bias", "down.0.bias", "down.1.bias")) else 0.0)
        torch.nn.init.normal_(pyramid.down[0].weight, std=0.01, generator=torch.Generator().manual_seed(0))
        torch.nn.init.normal_(pyramid.down[1].weight, std=0.01, generator=torch.Generator().manual_seed(1))
    maps = pyramid(torch.rand(2, 4, 32, 32))
    assert all(m.max() < 0 for m in maps)
    maps[0].square().sum().backward()
    assert pyramid.entry.weight.grad is not None and pyramid.entry.weight.grad.any()


def test_what_is_told_of_a_picture_does_not_fade_and_is_measured(model: VideoModel) -> None:
    pictures = torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loud = MotionConditioner(PictureTower(TINY_MOTION.tower))
    with torch.no_grad():
        for p in loud.tower.pyramid.parameters():
            p *= 0.3
        told = loud(pictures)
        assert (told["image_latents"][0] - told["image_latents"][1]).abs().mean() > 0.1
        spread = loud.spread(told)
        assert spread is not None and spread > 1e-4
        deaf = told | {"image_latents": told["image_latents"][:1].expand(2, -1, -1, -1)}
        assert loud.spread(deaf) == 0
        assert loud.spread({k: v[:1] for k, v in told.items()}) is None


def test_frames_of_one_picture_are_warped_as_if_it_were_copied() -> None:
    maps, flow = torch.rand(2, 3, 8, 8), torch.randn(6, 2, 8, 8)
    copied = torch.cat(
        [warped(m, f) for m, f in zip(maps.repeat_interleave(3, 0).split(1), flow.split(1), strict=True)]
    )
    torch.testing.assert_close(warped(maps, flow), copied)
    still = moved(maps, torch.zeros(2, 2, 8, 8))
    torch.testing.assert_close(still, maps, atol=1e-6, rtol=0)


def test_small_bends_are_taken_out_of_a_flow_and_large_ones_stay() -> None:
    """A flow of one turn with a wobble of half a pixel and a limb that goes 6 pixels its own way."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    turn = torch.stack([-0.1 * (y - 16), 0.1 * (x - 16)])[None]
    wobble = 0.25 * torch.stack([(1.7 * x).sin(), (1.9 * y).cos()])[None]
    limb = torch.zeros(1, 2, 32, 32)
    limb[:, 0, 4:10, 22:28] = 3
    picture = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    decoder = MotionDecoder(MotionCodecConfig(window=12.0, bends=1.0))
    kept = decoder._whole(turn + wobble + limb, picture)
    assert (kept - turn)[..., 16:, :16].abs().mean() < 0.5 * wobble.abs().mean()
    assert (kept - turn)[:, 0, 5:9, 23:27].mean() > 2
    free = MotionDecoder(MotionCodecConfig())
    assert torch.equal(free._whole(turn + wobble, picture), turn + wobble)


def test_our_sampler_equals_diffusers_classes(folder: Path, model: VideoModel) -> None:
    stock, ours = load_stock(folder)
    picture = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    own = ours.defaults.model_copy(update={"steps": 5})
    frames, calls, _ = stock.animate(picture, own, seed=3)
    clip = sfv.generate(model, picture, steps=5, seed=3, stiff="off")
    assert (calls, clip.calls) == (10, 10)
    assert (frames.int() - clip.frames.int()).abs().max() <= 1


def test_one_call_makes_a_round_that_begins_with_the_picture(model: VideoModel) -> None:
    clip = sfv.generate(model, sticker(), steps=1, guidance=1, transparent=True)
    assert clip.calls == 1 and clip.frames.shape == (4, 64, 64, 3) and clip.alpha is not None
    assert clip.stickers().shape == (4, 64, 64, 4) and not clip.latents[:, 0].any()
    again = sfv.generate(optimize(model, "exact", "eager"), sticker(), steps=1, guidance=1, transparent=True)
    assert (clip.frames.int() - again.frames.int()).abs().max() <= 1


def test_guidance_is_the_same_at_every_frame_of_a_round(model: VideoModel, tiny: VideoModel) -> None:
    """SVD's clips begin as the picture and need more of it later; a round has no later frames."""
    assert model.conditioner.guidance_over_frames(2.0, 4).tolist() == [2.0] * 4
    torch.testing.assert_close(tiny.conditioner.guidance_over_frames(2.0, 5), torch.tensor([1, 1.25, 1.5, 1.75, 2]))


def test_a_round_is_played_at_any_rate(model: VideoModel) -> None:
    picture = sticker()[..., :3]
    slow = sfv.generate(model, picture, steps=1, guidance=1)
    quick = sfv.generate(model, picture, steps=1, guidance=1, play_fps=16)
    assert len(quick.frames) == 2 * len(slow.frames) and (slow.fps, quick.fps) == (8, 16)
    assert torch.equal(quick.frames[0], slow.frames[0])
    even = sfv.generate(model, picture, steps=1, guidance=1, play_fps=8)
    assert torch.equal(even.frames, slow.frames), "as many frames as are made: those that are made"
    z = torch.randn(1, 4, 2, 1, 1)
    torch.testing.assert_close(around(z, torch.tensor([3.5]))[:, 0], (z[:, 3] + z[:, 0]) / 2)


def test_long_ways_from_and_to_the_picture_take_longer() -> None:
    """Ten equal steps but for a jump from the picture, with which a third of all motion is done, and one to it."""
    jump = torch.tensor([0.0, *range(20, 29)])
    at = eased(jump[:, None, None, None].expand(-1, 1, 2, 2), 40)
    assert at[0] == 0 and (at.diff() > 0).all() and float(at[-1]) < 10
    first, middle, last = float(at[1]), float(at[21] - at[20]), float(10 - at[-1])
    assert first == pytest.approx(middle / SLOWEST, rel=1e-3) and last == pytest.approx(first, rel=1e-3)
    ring = torch.stack([(torch.arange(12) * torch.pi / 6).cos(), (torch.arange(12) * torch.pi / 6).sin()], 1)
    places = eased(ring[:, :, None, None], 48)
    assert float(places[1]) == pytest.approx(float(places[20] - places[19]), rel=1e-3)
    assert float(12 - places[-1]) == pytest.approx(float(places[1]) / CALM, rel=1e-3)
    assert torch.isfinite(eased(torch.zeros(6, 1, 2, 2), 18)).all(), "a still"


def test_a_round_that_does_little_at_first_is_hurried() -> None:
    """A third of its motion is done in a third of its time, or as much as hurrying by HURRY can do; the seam keeps its
    pace, and an even round is not touched."""
    spans = torch.ones(24)
    at = torch.arange(72) / 72
    slow = torch.where(torch.arange(24) < 8, 0.6, 1.2)
    done = torch.cat([torch.zeros(1), slow.cumsum(0)]) / slow.sum()

    def by(share: torch.Tensor) -> torch.Tensor:
        k = (24 * share).floor().long().clamp(max=23)
        return done[k] + (24 * share - k) * (done[k + 1] - done[k])

    early = hurried(at, slow, spans)
    assert float(by(at)[24]) == pytest.approx(0.2, abs=1e-3) and float(by(early)[24]) == pytest.approx(1 / 3, abs=1e-3)
    assert float(early[1]) == pytest.approx(1 / 72, rel=0.05) and float(1 - early[-1]) == pytest.approx(
        1 / 72, rel=0.05
    )
    assert torch.equal(hurried(at, torch.ones(24), spans), at)
    assert torch.equal(hurried(at, torch.where(torch.arange(24) < 8, 1.2, 0.6), spans), at)
    late = hurried(at, torch.where(torch.arange(24) < 20, 0.01, 1.0), spans)
    assert (late.diff() > 0).all() and float(late[18] - at[18]) == pytest.approx(HURRY / (2 * math.pi), rel=1e-5)


def test_a_round_lasts_as_long_as_is_asked_for(model: VideoModel) -> None:
    clip = sfv.generate(model, sticker()[..., :3], seconds=2, play_fps=10)
    assert len(clip.frames) == 20 and clip.fps == 10
    assert (clip.settings.fps, clip.settings.seconds) == (2, None), "4 frames in 2 seconds; a replay is the same"
    assert torch.equal(sfv.generate(model, sticker()[..., :3], clip.settings).frames, clip.frames)
    with pytest.raises(SfvError, match="seconds 20: a round of 4 frames lasts 0.0667 to 2"):
        sfv.generate(model, sticker()[..., :3], seconds=20)
    with pytest.raises(SfvError, match="seconds 2 goes without fps"):
        sfv.generate(model, sticker()[..., :3], seconds=2, fps=4)


def test_a_model_may_play_its_rounds_at_a_rate_of_its_own(model: VideoModel, folder: Path, tmp_path: Path) -> None:
    smooth = replace(model, defaults=model.defaults.model_copy(update={"play_fps": 24}))
    made = sfv.generate(smooth, sticker()[..., :3])
    assert (made.fps, len(made.frames)) == (24, 12) and made.latents.shape[1] == 12
    assert torch.equal(made.frames, sfv.generate(model, sticker()[..., :3], play_fps=24).frames)
    as_made = sfv.generate(smooth, sticker()[..., :3], play_fps=8)
    assert len(as_made.frames) == 4
    motion_folder.save(smooth, tmp_path / "smooth")
    assert sfv.load(tmp_path / "smooth").defaults.play_fps == 24
    assert "play_fps" not in (folder / "unet" / "sfv.json").read_text(), "older versions open what older versions know"


def test_only_rounds_are_played_at_another_rate(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="seconds 2: .* makes no whole loops"):
        sfv.generate(tiny, sticker()[..., :3], seconds=2)
    with pytest.raises(SfvError, match="play_fps 24: .* makes no whole loops"):
        sfv.generate(tiny, torch.zeros(32, 32, 3, dtype=torch.uint8), play_fps=24)


def test_a_word_for_motion_is_the_programs_id(model: VideoModel) -> None:
    """By Python, and where a picture was encoded before; without a word the id is 0."""
    assert {w: PROGRAMS[i] for w, i in MOVES.items() if i} == {w: w for w in MOVES if w != "free"}
    picture = sticker()[..., :3]
    clips = {w: sfv.generate(model, picture, steps=1, guidance=1, move=w) for w in MOVES}
    assert len({clip.latents.sum().item() for clip in clips.values()}) == len(MOVES)
    start = begin(model, picture, {"steps": 1, "guidance": 1, "move": "bounce"})
    seconds: dict[str, float] = {}
    known = encoded(model, start, seconds)
    assert known["added_time_ids"][0, 2] == 3
    again = encoded(model, replace(start, want=start.want.model_copy(update={"move": "free"})), seconds, known)
    assert again["added_time_ids"][0, 2] == 0
    torch.testing.assert_close(finish(model, start, known, seconds).frames, clips["bounce"].frames)


def test_only_models_of_rounds_know_words(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="move sway: .* knows no words for motion; leave it out"):
        sfv.generate(tiny, torch.zeros(32, 32, 3, dtype=torch.uint8), move="sway")


def test_a_picture_that_cannot_be_noised_says_so(model: VideoModel) -> None:
    with pytest.raises(SfvError, match="noise_aug 0.1: .* leave it out"):
        sfv.generate(model, torch.zeros(64, 64, 3, dtype=torch.uint8), noise_aug=0.1)


def test_large_clips_are_the_large_picture_moved(model: VideoModel) -> None:
    clip = sfv.generate(model, sticker(128), steps=1, guidance=1, enlarge=2, transparent=True)
    assert clip.frames.shape == (4, 128, 128, 3) and clip.alpha is not None and clip.alpha.shape == (4, 128, 128, 1)


def test_layers_are_laid_over_a_colour() -> None:
    layers = as_layers(sticker())[:, None]
    frames = laid_over(layers, (0, 0, 255))
    assert frames[0, 0, 0].tolist() == [0, 0, 255] and frames[0, 32, 32].tolist() == [200, 90, 30]
    assert torch.equal(opacity(layers)[0, ..., 0], sticker()[..., 3])


def test_a_folder_is_exported_and_no_other_programs_file_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(folder), str(tmp_path / "out"), "--precision", "float32"]) == 0
    assert "Stability" not in capsys.readouterr().out
    assert sfv.load(tmp_path / "out").denoiser.state_dict().keys() == sfv.load(folder).denoiser.state_dict().keys()
    assert main(["export", str(folder), str(tmp_path / "one.safetensors"), "--to", "single-file"]) == 1
    assert not (tmp_path / "one.safetensors").exists()


def test_onnx_graphs_hold_the_networks(folder: Path) -> None:
    names = graphs(sfv.load(folder, dtype=torch.float32))
    assert set(names) == {"tower.onnx", "unet.onnx", "decoder.onnx"}
    for graph in names.values():
        made = graph.network(*graph.inputs.values())
        outs = made if isinstance(made, tuple) else (made,)
        assert len(outs) == len(graph.outputs) and all(torch.isfinite(v).all() for v in outs)


def test_a_decoder_is_exported_a_second_time_in_one_process(folder: Path) -> None:
    """Nothing that one export made is left for the next."""
    decoder = graphs(sfv.load(folder, dtype=torch.float32))["decoder.onnx"]
    given = tuple(decoder.inputs.values())
    with torch.no_grad():
        first, second = (torch.export.export(decoder.network.eval(), given).module()(*given) for _ in range(2))
    torch.testing.assert_close(first, second)


def test_noise_levels_and_heads_are_part_of_the_hash_where_they_are_unusual(folder: Path, tmp_path: Path) -> None:
    """As usual they are not, so that hashes from before they counted stay."""
    shutil.copytree(folder, tmp_path / "other")
    index, config = tmp_path / "other" / "model_index.json", tmp_path / "other" / "unet" / "config.json"
    usual, seen = json.loads(index.read_text()), {motion_folder.weights_hash(folder, "unet")}
    parts = [folder / part for part in ("unet", "codec", "picture_tower")]
    assert seen == {hash_of([*(f for p in parts for f in weight_files(p)), folder / "codec" / "config.json"])}
    for changes in ({"sigma_max": 30}, {"sigma_min": 0.5}):
        index.write_text(json.dumps(usual | changes))
        seen.add(motion_folder.weights_hash(tmp_path / "other", "unet"))
    index.write_text(json.dumps(usual | {"sigma_max": 100}))
    assert len(seen) == 3 and motion_folder.weights_hash(tmp_path / "other", "unet") in seen
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": [2, 1]}))
    assert motion_folder.weights_hash(tmp_path / "other", "unet") not in seen


def test_a_folder_that_does_not_say_how_it_is_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "unet" / "sfv.json").unlink()
    with pytest.raises(SfvError, match="sfv.json is missing, which says how this network is asked"):
        sfv.load(tmp_path / "other")


def test_damaged_folders_are_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    broken = replace(sfv.load(folder), sigma_max=1.0)
    motion_folder.save(broken, tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "SfvMotionPipeline"}')
    with pytest.raises(SfvError, match="names no noise levels"):
        sfv.load(tmp_path)
    motion_folder.save(broken, tmp_path)
    (tmp_path / "codec" / "diffusion_pytorch_model.safetensors").write_bytes(b"12345678")
    with pytest.raises(SfvError, match="safetensors"):
        sfv.load(tmp_path)


@pytest.mark.parametrize("program", PROGRAMS[1:])
def test_programs_rest_at_the_start_and_come_back(program: str) -> None:
    at = pose(program, torch.tensor([0.0, 0.3, 1.0]), 1.0)
    rest = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(at[0], rest, atol=1e-6, rtol=0)
    torch.testing.assert_close(at[2], rest, atol=1e-5, rtol=0)
    assert (at[1] - rest).abs().max() > 0.05
    with pytest.raises(SfvError, match="unknown"):
        pose("dance", torch.zeros(1), 1.0)


def test_a_turn_keeps_its_pivot() -> None:
    theta = affine(torch.tensor([0.7]), *[torch.ones(1)] * 2, torch.zeros(1), torch.tensor([0.9]))[0]
    torch.testing.assert_close(theta @ torch.tensor([0.0, 0.9, 1.0]), torch.tensor([0.0, 0.9]))


def test_loops_wrap_around(store: Path) -> None:
    clips = ClipStore(store)
    loop = DrawnLoop(clips, clips.clips[0])
    assert loop.seconds == 1.0
    a, b = loop.frames(torch.tensor([0.25, 0.5])), loop.frames(torch.tensor([1.25, -0.5]))
    assert torch.equal(a, b) and a.shape == (2, 4, 32, 32)
    assert (a[:, :3] <= a[:, 3:] + 1e-6).all(), "colours are multiplied with alpha"
    opaque = over(a, torch.ones(3, 1, 1))
    assert (opaque[:, 3] == 1).all()


def test_stills_are_moved_as_one_body() -> None:
    still = premultiplied(torch.cat([torch.ones(1, 3, 256, 256), torch.zeros(1, 1, 256, 256)], 1))[0]
    still[:, 64:192, 64:192] = 1
    loop = ProgrammedLoop(still, PROGRAMS.index("spin"), 1.0, size=64)
    frames = loop.frames(torch.tensor([0.0, 0.25, 0.125]))
    assert (frames[0] - frames[1]).abs().max() < 0.1, "a quarter turn of a square is the square"
    assert (frames[0] - frames[2]).abs().max() > 0.9


def test_stills_are_asked_for_by_name(store: Path) -> None:
    with pytest.raises(SfvError, match="no stills"):
        LoopSource(ClipStore(store), 0.5)


def batches(model: VideoModel, store: Path) -> LoopBatches:
    return LoopBatches(LoopSource(ClipStore(store)), model.codec, model.conditioner, 4)


def test_drawn_loops_say_their_rate_and_motion(model: VideoModel, store: Path, tmp_path: Path) -> None:
    source = batches(model, store)
    source.rank_motion(tmp_path / "motion.json")
    x0, cond = source.draw(Seeds(0, 0).clips(3))
    assert x0.shape == (3, 4, 4, 2, 2) and not x0[:, 0].any()
    assert cond["added_time_ids"][:, 0].tolist() == [3.0] * 3, "4 frames of one second, less one"
    assert ((cond["added_time_ids"][:, 1] >= 0) & (cond["added_time_ids"][:, 1] <= 255)).all()
    other = batches(model, store)
    other.rank_motion(tmp_path / "motion.json")
    again, _ = other.draw(Seeds(0, 0).clips(3))
    assert torch.equal(x0, again)
    dropped = source.draw(Seeds(0, 0).clips(3), drop=1.0)[1]
    assert not dropped["image_latents"].any() and cond["image_latents"].any()


def test_a_pool_keeps_loops_and_says_who_made_them(model: VideoModel, store: Path, tmp_path: Path) -> None:
    kept, afresh = batches(model, store), batches(model, store)
    kept.keep_pool(tmp_path / "pool", 5)
    kept.rank_motion(tmp_path / "motion.json")
    first = kept._loop(3)
    other = batches(model, store)
    other.keep_pool(tmp_path / "pool", 5)
    again = other.pool.get(3, lambda i: pytest.fail("it is kept"))  # type: ignore[union-attr]
    assert torch.equal(first.x0, again.x0) and torch.equal(first.picture, again.picture)
    torch.testing.assert_close(first.x0, afresh._loop(3).x0, atol=2e-3, rtol=2e-3)
    ids = {tuple(kept.draw(Seeds(0, k).clips(1))[0].flatten()[:99].tolist()) for k in range(40)}
    assert len(ids) <= 5
    with pytest.raises(SfvError, match="other loops; delete it"):
        other.keep_pool(tmp_path / "pool", 6)


def test_every_part_trains_and_resumes(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(SfvError, match="no trained codec"):
        train_part("teacher", store, out, "loops-debug", ("programmed=0",), init=None)
    for part in ("codec", "teacher", "student", "decoder"):
        assert part in train_part(part, store, out, "loops-debug")
    made = sfv.load(out)
    assert (made.family, made.defaults.steps, made.defaults.guidance, made.loops) == ("motion", 1, 1.0, True)
    clip = sfv.generate(made, sticker()[..., :3])
    assert clip.calls == 1
    before = motion_folder.weights_hash(out, "teacher")
    train_part("decoder", store, out, "loops-debug")
    assert motion_folder.weights_hash(out, "teacher") == before, "a finished run gives the same weights again"
    with pytest.raises(SfvError, match="matte is no part|trains codec"):
        train_part("matte", store, out, "loops-debug")


def test_a_decoder_loses_blocks_and_learns_on(begun_loops: Path, store: Path, tmp_path: Path) -> None:
    out = shutil.copytree(begun_loops, tmp_path / "model")
    with pytest.raises(SfvError, match=r"depth \[2, 1, 1, 1\]: the decoder has \[1, 1, 1, 1\]"):
        train_part("decoder", store, out, "loops-debug", ("depth=[2,1,1,1]",))
    train_part("decoder", store, out, "loops-debug", ("depth=[1,1,1,0]",))
    codec = motion_folder.load(out, "teacher", torch.float32, "m").codec
    assert isinstance(codec, MotionCodec) and codec.networks.config.depth == (1, 1, 1, 0)


def test_a_finished_decoder_can_be_ended_with_less_drawing(begun_loops: Path, store: Path, tmp_path: Path) -> None:
    out = shutil.copytree(begun_loops, tmp_path / "model")
    train_part("decoder", store, out, "loops-debug")
    free = motion_folder.load(out, "teacher", torch.float32, "m").codec
    before = motion_folder.weights_hash(out, "teacher")
    train_part("decoder", store, out, "loops-debug", ("window=20", "strain=0.5", "trust_bias=3"))
    assert motion_folder.weights_hash(out, "teacher") != before, "another decoder makes other clips"
    ended = motion_folder.load(out, "teacher", torch.float32, "m").codec
    assert isinstance(free, MotionCodec) and isinstance(ended, MotionCodec)
    said = ended.networks.config
    assert (said.window, said.strain, said.trust_bias) == (20, 0.5, 3)
    assert free.networks.state_dict().keys() == ended.networks.state_dict().keys()
    z, picture = torch.randn(1, 4, 4, 4, 4), torch.rand(1, 4, 64, 64) * 2 - 1
    drawn = [codec.networks.draw(z, picture).trust for codec in (free, ended)]
    assert drawn[0] is not None and drawn[1] is not None and (drawn[1] > drawn[0]).all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [(("strain=0.5",), "strain needs a window"), (("window=8", "strain_of_soft=0.5"), "strain_of_soft needs strain")],
)
def test_an_end_that_would_change_nothing_is_refused(fields: tuple[str, ...], words: str) -> None:
    with pytest.raises(SfvError, match=words):
        stages("loops-debug", "decoder", fields)


def test_a_decoder_learns_under_the_settings_of_its_end(begun_loops: Path, store: Path, tmp_path: Path) -> None:
    """What draws does not learn then, since nothing is drawn; the flow learns otherwise than free."""
    end = ("window=8", "bends=1000", "strain=0.2", "draws=False")
    made = []
    for as_generated in ("False", "True"):
        out = shutil.copytree(begun_loops, tmp_path / as_generated)
        before = motion_folder.load(out, "teacher", torch.float32, "m").codec
        train_part("decoder", store, out, "loops-debug", (*end, f"as_generated={as_generated}"))
        made.append(motion_folder.load(out, "teacher", torch.float32, "m").codec)
    assert isinstance(before, MotionCodec) and all(isinstance(codec, MotionCodec) for codec in made)
    old, free, learnt = (codec.networks.decoder for codec in (before, *made))
    assert (learnt.window, learnt.bends, learnt.strain, learnt.draws) == (8, 1000, 0.2, False)
    for drawing in ("look.weight", "exit.weight"):
        kept = old.state_dict()[drawing]
        assert torch.equal(learnt.state_dict()[drawing], kept) and not torch.equal(free.state_dict()[drawing], kept)
    flows = [decoder.flow[1].weight for decoder in (old, free, learnt)]
    assert not torch.equal(flows[2], flows[0]) and not torch.equal(flows[2], flows[1])


def test_without_drawing_the_moved_picture_is_all(folder: Path) -> None:
    """The flow stays to the bit; nothing of what the finest size would draw is left."""
    codec = motion_folder.load(folder, "unet", torch.float32, "m").codec
    assert isinstance(codec, MotionCodec)
    networks, rng = codec.networks, torch.Generator().manual_seed(0)
    z, picture = torch.randn(1, 4, 4, 4, 4, generator=rng), torch.rand(1, 4, 64, 64, generator=rng) * 2 - 1
    with torch.inference_mode():
        whole = networks.for_generation(0.0, 1.0, 0.0).draw(z, picture)
        still = networks.for_generation(0.0, 1.0, 0.0, draws=False).draw(z, picture)
    assert still.moved is not None and still.trust is not None and whole.flow is not None and still.flow is not None
    assert torch.equal(still.flow, whole.flow) and torch.equal(still.frames, still.moved) and (still.trust == 1).all()
    assert not torch.equal(whole.frames, still.frames)


def test_latents_of_nothing_are_the_picture_in_generation(folder: Path) -> None:
    """Whatever the layers' biases say; frames that change move against it."""
    codec = motion_folder.load(folder, "unet", torch.float32, "m").codec
    assert isinstance(codec, MotionCodec)
    networks, rng = codec.networks, torch.Generator().manual_seed(0)
    z, picture = torch.randn(1, 3, 4, 4, 4, generator=rng), torch.rand(1, 4, 64, 64, generator=rng) * 2 - 1
    z[:, 0] = 0
    with torch.inference_mode():
        for layer in networks.decoder.flow:
            layer.bias.fill_(0.5)
        free = networks.for_generation(0.0, 1.0, 0.0, draws=False).draw(z, picture)
        whole = networks.for_generation(8.0, 1.0, 0.0, draws=False).draw(z, picture)
    assert free.flow is not None and whole.flow is not None and free.flow[:, 0].abs().min() > 0.5
    assert whole.flow[:, 0].abs().max() < 1e-5 and whole.flow[:, 1:].abs().max() > 1e-3
    torch.testing.assert_close(whole.frames[:, 0], picture, atol=1e-5, rtol=0)


def test_what_surely_bends_may_be_strained_more(folder: Path) -> None:
    """Of a batch each clip by its own softness; as its files for browsers have it, and as the codec draws."""
    codec = motion_folder.load(folder, "unet", torch.float32, "m").codec
    assert isinstance(codec, MotionCodec)
    codec.decode_dtype, rng = None, torch.Generator().manual_seed(0)
    z, picture = torch.randn(1, 3, 4, 4, 4, generator=rng), torch.rand(1, 4, 64, 64, generator=rng) * 2 - 1
    with torch.inference_mode():
        for layer in codec.networks.decoder.flow:
            layer.weight.normal_(0, 0.1, generator=rng)
        codec.networks = codec.networks.for_generation(8.0, 1.0, 0.0, draws=False, strain=0.01, strain_of_soft=99.0)
        both = codec.networks.draw(z.repeat(2, 1, 1, 1, 1), picture.repeat(2, 1, 1, 1), torch.tensor([0.0, 1.0]))
        stiff, soft = (codec.draw(z, picture, torch.tensor([s])).flow for s in (0.0, 1.0))
        file, said_by_nobody = Parts(codec)(z, picture, torch.ones(1))[3], codec.draw(z, picture).flow
    assert stiff is not None and soft is not None and both.flow is not None and said_by_nobody is not None
    assert torch.equal(said_by_nobody, stiff)
    torch.testing.assert_close(both.flow, torch.cat([stiff, soft]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(file, soft[0], atol=1e-4, rtol=1e-4)
    limits = (torch.linalg.vector_norm(v[0].diff(dim=3)) for v in (soft, stiff))
    assert next(limits) > 1.2 * next(limits)


def test_the_tower_learns_with_the_teacher(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_part("codec", store, out, "loops-debug")
    before = sfv.load(out).conditioner.state_dict() if (out / "unet").exists() else None
    assert before is None, "a codec alone is no model yet"
    fresh = motion_folder.load(out, "teacher", torch.float32, "m").conditioner.state_dict()
    train_part("teacher", store, out, "loops-debug", ("lr=0.01",))
    after = motion_folder.load(out, "teacher", torch.float32, "m").conditioner.state_dict()
    assert any(not torch.equal(fresh[k], after[k]) for k in fresh)
    codec = motion_folder.load(out, "teacher", torch.float32, "m").codec
    assert isinstance(codec, MotionCodec) and math.isfinite(float(codec.networks.std.sum()))


def test_a_teacher_that_is_told_the_same_of_every_picture_says_so(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_part("codec", store, out, "loops-debug")
    deaf = motion_folder.load(out, "teacher", torch.float32, "m")
    assert isinstance(deaf.conditioner, MotionConditioner)
    with torch.no_grad():
        deaf.conditioner.tower.mix.weight.zero_()
        deaf.conditioner.tower.token.weight.zero_()
    motion_folder.save(deaf, out, "teacher")
    train_part("teacher", store, out, "loops-debug", ("1.steps=8", "1.log_every=1", "1.lr=0", "0.lr=0"))
    (alarm,) = [a for a in read_alarms(out / "runs" / "teacher" / "1") if a["kind"] == "picture ignored"]
    assert "cannot use it" in str(alarm["advice"]) and "picture_spread was 0" in str(alarm["why"])


@pytest.fixture
def with_stills(store: Path, tmp_path: Path) -> Path:
    """The store and three stills, one of them a flag."""
    out = shutil.copytree(store, tmp_path / "store")
    rng = torch.Generator().manual_seed(0)
    torch.randint(0, 256, (3, STILL_SIDE, STILL_SIDE, 4), dtype=torch.uint8, generator=rng).numpy().tofile(out / STILLS)
    (out / STILL_NAMES).write_text('["1f1e9-1f1ea", "1f4e6", "1f511"]')
    return out


def test_stiff_things_are_learnt_and_the_run_resumes(begun_loops: Path, with_stills: Path, tmp_path: Path) -> None:
    store = with_stills
    out = shutil.copytree(begun_loops, tmp_path / "model")
    train_part("stiffness", store, out, "loops-debug", ("steps=2",))
    train_part("stiffness", store, out, "loops-debug", ("steps=4",))
    at_once = shutil.copytree(begun_loops, tmp_path / "other")
    train_part("stiffness", store, at_once, "loops-debug", ("steps=4",))
    one, other = (motion_folder.load(f, "teacher", torch.float32, "m").stiffness for f in (out, at_once))
    assert isinstance(one, Stiffness) and isinstance(other, Stiffness)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert one.motion is not None and float(one.motion[-1].weight.abs().max()) > 0  # type: ignore[operator]
    without = shutil.copytree(begun_loops, tmp_path / "without")
    train_part("stiffness", store, without, "loops-debug", ("steps=2", "motion=0"))
    mute = motion_folder.load(without, "teacher", torch.float32, "m").stiffness
    assert isinstance(mute, Stiffness) and mute.motion is None
    tower = motion_folder.load(out, "teacher", torch.float32, "m").conditioner.picture_tower()
    mine = one.pyramid.state_dict()
    assert all(torch.equal(v, mine[k]) for k, v in tower.pyramid.state_dict().items()), "features stand still"  # type: ignore[union-attr]


def test_stiff_pictures_are_both_kinds_and_flags_are_neither(store: Path, with_stills: Path) -> None:
    with pytest.raises(SfvError, match="holds no stills"):
        StiffPictures(ClipStore(store))
    pictures = StiffPictures(ClipStore(with_stills))
    assert pictures.stiff_stills == [1, 2]
    drawn = [pictures.draw(torch.Generator().manual_seed(i)) for i in range(40)]
    size = ClipStore(store).size
    assert {label for _, label in drawn} == {0.0, 1.0} and drawn[0][0].shape == (4, size, size)
    assert all(float(p.abs().max()) <= 1 for p, _ in drawn)
    assert [is_flag(n) for n in ("1f1e9-1f1ea", "1f1fa", "1f600", "1f1a0", "0031-fe0f")] == [True, True, *[False] * 3]
