"""The small decoder: shapes, files, refusals, and its place beside the codec's own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import shaken

import sfv
from sfv.batch.clip_file import animate_file
from sfv.batch.replay import replay
from sfv.data.stickers import ClipStore
from sfv.decoding.decoder import load_decoder, new_decoder, save_decoder
from sfv.decoding.folder import CONFIG, WEIGHTS
from sfv.decoding.guide import DOUBT, Guide, finer, warped
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd import folder as svd_folder
from sfv.generation.generate import generate
from sfv.media import write_picture
from sfv.settings import Settings
from sfv.training.config import DecoderTraining
from sfv.training.objectives.decoder import DecoderTask
from sfv.training.seeds import Seeds


@pytest.fixture
def small(tiny: VideoModel) -> VideoModel:
    return replace(tiny, small=shaken())


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_it_makes_the_codecs_sizes(stride: int) -> None:
    pixels = shaken(8, stride)(torch.randn(2, 3, 8, 4, 6), torch.rand(2, 3, 4 * stride, 6 * stride))
    assert pixels.shape == (2, 3, 3, 4 * stride, 6 * stride) and pixels.dtype == torch.float32


def test_a_stride_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(SfvError, match="power of two"):
        new_decoder(4, 6, 0)


def test_frames_see_their_neighbours_and_the_first_and_clips_see_nobody() -> None:
    decoder, z = shaken(), torch.randn(2, 9, 4, 4, 4)
    picture = torch.rand(2, 3, 8, 8)
    reach = sum(decoder.config.depths)
    for at, felt in ((8, slice(8 - reach, 9)), (0, slice(0, 9))):
        changed = z.clone()
        changed[0, at] += 1
        difference = (decoder(changed, picture) - decoder(z, picture)).abs().amax((2, 3, 4))
        assert (difference[0, felt] > 0).all() and (difference[0, : felt.start] == 0).all()
        assert (difference[1] == 0).all()


def test_a_clip_does_not_depend_on_its_batch(small: VideoModel) -> None:
    z, picture = torch.randn(3, 4, 4, 16, 16), torch.rand(3, 3, 32, 32)
    assert torch.equal(small.decode(z, picture)[1:2], small.decode(z[1:2], picture[1:2]))


def test_files_round_trip_bit_for_bit(tmp_path: Path) -> None:
    decoder = shaken()
    save_decoder(decoder, tmp_path)
    again = load_decoder(tmp_path, torch.float32, 4, 2)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in decoder.state_dict().items())


def test_damaged_or_foreign_files_are_refused(tmp_path: Path) -> None:
    decoder = shaken()
    save_decoder(decoder, tmp_path)
    with pytest.raises(SfvError, match="other latents"):
        load_decoder(tmp_path, torch.float32, 8, 2)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SfvError, match="not a whole small decoder"):
        load_decoder(tmp_path, torch.float32, 4, 2)
    (tmp_path / WEIGHTS).write_bytes(whole)
    (tmp_path / CONFIG).write_text('{"latent_channels": 4, "widths": [], "depth": 1}')
    with pytest.raises(SfvError, match="not a whole small decoder"):
        load_decoder(tmp_path, torch.float32, 4, 2)
    with torch.no_grad():
        decoder.entry.weight[0] = float("nan")
    save_decoder(decoder, tmp_path)
    with pytest.raises(SfvError, match="not finite"):
        load_decoder(tmp_path, torch.float32, 4, 2)


def test_a_folder_with_a_decoder_uses_it_unless_told_otherwise(small: VideoModel, tmp_path: Path) -> None:
    svd_folder.save(small, tmp_path / "model")
    model = sfv.load(tmp_path / "model", decode_dtype=torch.float32)
    plain = sfv.load(tmp_path / "model", dtype=torch.float32)
    assert model.small is not None and model.hash == plain.hash
    picture = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    quick, slow = (generate(model, picture, steps=1, guidance=1, decoder=d) for d in (None, "full"))
    assert (quick.settings.decoder, slow.settings.decoder) == ("small", "full")
    assert torch.equal(quick.latents, slow.latents) and not torch.equal(quick.frames, slow.frames)
    (tmp_path / "model" / "decoder" / WEIGHTS).unlink()
    with pytest.raises(SfvError, match="decoder"):
        sfv.load(tmp_path / "model")


def test_without_one_small_is_refused(tiny: VideoModel) -> None:
    with pytest.raises(SfvError, match="decoder small: .* has only full"):
        generate(tiny, torch.zeros(8, 8, 3, dtype=torch.uint8), steps=1, decoder="small")


def test_a_replay_uses_the_same_decoder(small: VideoModel, tmp_path: Path) -> None:
    svd_folder.save(small, tmp_path / "model")
    model = sfv.load(tmp_path / "model")
    write_picture(torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8), tmp_path / "p.png")
    for decoder in ("full", "small"):
        made = tmp_path / f"{decoder}.png"
        want = Settings(steps=1, guidance=1, decoder=decoder)  # type: ignore[arg-type]
        animate_file(replace(model, name=str(tmp_path / "model")), tmp_path / "p.png", want, made)
        again = Path(replay(made, tmp_path / f"{decoder}-again.png")["out"])
        assert made.read_bytes() == again.read_bytes()
    assert (tmp_path / "full.png").read_bytes() != (tmp_path / "small.png").read_bytes()


def test_export_carries_it(small: VideoModel, tmp_path: Path) -> None:
    svd_folder.save(small, tmp_path / "model")
    svd_folder.export(tmp_path / "model", tmp_path / "out", torch.float16)
    kept = load_decoder(tmp_path / "out" / "decoder", torch.float32, 4, 2)
    assert torch.allclose(kept.entry.weight, small.small.entry.weight, atol=1e-3)  # type: ignore[union-attr]


def test_restored_latents_are_the_denoisers_one_answer(tiny: VideoModel, store: Path) -> None:
    """Little noise: nearly the real latents; much: others. The denoiser is asked once a step."""
    calls = []
    hook = tiny.denoiser.unet.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr,operator]
    clips = torch.rand(1, 4, 3, 32, 32)
    away = []
    for sigma in (1e-3, 5.0):
        config = DecoderTraining(steps=1, clips=1, frames=3, restored=1.0, sigmas=(sigma, sigma))
        task = DecoderTask(shaken().requires_grad_(True), tiny, ClipStore(store), config)
        made = task._restored(clips, clips[:, 0], torch.Generator().manual_seed(0))
        away.append(float((made - tiny.codec.encode(clips)).abs().mean()))
    assert len(calls) == 2 and away[0] < 0.01 < away[1]
    logs = task.step(0, Seeds(0, 0))
    hook.remove()
    assert len(calls) == 3 and logs["loss"] > 0 and 0 < logs["trust"] < 1


def test_decoder_presets_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="rising"):
        DecoderTraining(steps=1, clips=1, sigmas=(2.0, 1.0))
    with pytest.raises(ValueError, match="whole frames"):
        DecoderTraining(steps=1, clips=1, crop=16, restored=0.5)


def test_a_fresh_guide_changes_only_the_masks_share() -> None:
    """It may be added to a trained decoder: flows and joins start at zero."""
    plain = new_decoder(4, 4, 0, guided=False).eval()
    with torch.no_grad():
        for p in plain.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    guided = new_decoder(4, 4, 7).eval()
    guided.begin_as(plain)
    z, picture = torch.randn(2, 3, 4, 8, 8), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        made, moved, trust, _ = guided.draw(z, picture)
        drawn = plain(z)
    assert trust is not None and moved is not None
    share = torch.sigmoid(torch.tensor(DOUBT))
    torch.testing.assert_close(trust, share.expand_as(trust))
    torch.testing.assert_close(made, (1 - share) * drawn + share * moved, rtol=1e-4, atol=1e-5)


def test_what_moved_is_found_in_the_first_frame() -> None:
    """Latents that stand still match where they are; shifted ones, where they came from."""
    guide, still = Guide((16, 8)), torch.randn(1, 1, 4, 12, 12)
    moved = torch.cat([still, still.roll(2, 4), still.roll(-3, 3)], 1)
    flow = guide.matched(moved.flatten(0, 1), 1)
    inner = flow[..., 4:-4, 4:-4]
    for frame, (dx, dy) in zip(inner, ((0, 0), (-2, 0), (0, 3)), strict=True):
        torch.testing.assert_close(frame.mean((1, 2)), torch.tensor([float(dx), float(dy)]), atol=0.05, rtol=0)


def test_warping_takes_from_where_the_flow_points() -> None:
    maps = torch.arange(24.0).view(1, 1, 4, 6)
    right = torch.zeros(1, 2, 4, 6)
    right[:, 0] = 1
    down = torch.zeros(1, 2, 4, 6)
    down[:, 1] = 1
    torch.testing.assert_close(warped(maps, right)[..., :-1], maps[..., 1:])
    torch.testing.assert_close(warped(maps, down)[..., :-1, :], maps[..., 1:, :])
    torch.testing.assert_close(warped(maps, right)[..., -1], maps[..., -1])
    fine = finer(right)
    assert fine.shape == (1, 2, 8, 12) and float(fine[:, 0].min()) == 2


def test_every_clip_is_guided_by_its_own_picture(tiny: VideoModel) -> None:
    model, z = replace(tiny, small=shaken()), torch.randn(2, 4, 4, 16, 16)
    pictures = torch.rand(2, 3, 32, 32)
    both = model.decode(z, pictures)
    assert torch.equal(both[1:], model.decode(z[1:], pictures[1:]))
    assert not torch.equal(both[1:], model.decode(z[1:], pictures[:1]))
    with pytest.raises(SfvError, match="guided by the picture"):
        model.decode(z)


def test_a_slimmer_decoder_begins_as_the_one_before_and_copies_it(tiny: VideoModel, store: Path) -> None:
    before = new_decoder(4, 4, 7).eval()
    slim = new_decoder(4, 4, 0, depth=(1, 1), joined=1)
    slim.begin_as(before)
    assert slim.config.depths == (1, 1) and slim.guide is not None and len(slim.guide.join) == 1
    assert torch.equal(slim.levels[1][0].conv1.weight, before.levels[1][0].conv1.weight)  # type: ignore[index]
    model = replace(tiny, codec=tiny.codec, small=shaken(4, 2))
    config = DecoderTraining(steps=30, clips=1, frames=3, depth=(1, 1, 1), joined=0, copied=True, warmup=0)
    fresh = new_decoder(4, 2, 0, depth=(1, 1, 1), joined=0)
    task = DecoderTask(fresh, model, ClipStore(store), config)
    losses = [task.step(i, Seeds(0, i))["loss"] for i in range(30)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    with pytest.raises(SfvError, match="needs a small decoder to copy"):
        DecoderTask(fresh, tiny, ClipStore(store), config).step(0, Seeds(0, 0))


def test_depths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SfvError, match="cannot be made so"):
        new_decoder(4, 4, 0, depth=(0, 3))
