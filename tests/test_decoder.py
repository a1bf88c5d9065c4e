"""The small decoder: shapes, files, refusals, and its place beside the codec's own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import Noise
from test_training import store  # noqa: F401

import sfv
from sfv.batch import animate_file, replay
from sfv.data.stickers import ClipStore
from sfv.errors import SfvError
from sfv.families import svd_folder
from sfv.families.base import VideoModel
from sfv.families.decoder import SmallDecoder, load_decoder, new_decoder, save_decoder
from sfv.families.side_parts import CONFIG, WEIGHTS
from sfv.generation import generate
from sfv.media import write_picture
from sfv.settings import Settings
from sfv.training.config import DecoderTraining
from sfv.training.decoder import DecoderTask, one_call
from sfv.training.seeds import Seeds


def shaken(channels: int = 4, stride: int = 2) -> SmallDecoder:
    """Fresh decoders start with residuals at zero, which would hide mistakes."""
    decoder, rng = new_decoder(channels, stride, 0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in decoder.parameters():
            p += 0.05 * torch.randn(p.shape, generator=rng)
    return decoder.eval().requires_grad_(False)


@pytest.fixture
def small(tiny: VideoModel) -> VideoModel:
    return replace(tiny, small=shaken())


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_it_makes_the_codecs_sizes(stride: int) -> None:
    pixels = shaken(8, stride)(torch.randn(2, 3, 8, 4, 6))
    assert pixels.shape == (2, 3, 3, 4 * stride, 6 * stride) and pixels.dtype == torch.float32


def test_a_stride_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(SfvError, match="power of two"):
        new_decoder(4, 6, 0)


def test_frames_see_their_neighbours_and_clips_see_nobody() -> None:
    decoder, z = shaken(), torch.randn(2, 9, 4, 4, 4)
    changed = z.clone()
    changed[0, 0] += 1
    difference = (decoder(changed) - decoder(z)).abs().amax((2, 3, 4))
    reach = decoder.config.depth * len(decoder.config.widths)
    assert (difference[0, : reach + 1] > 0).all() and (difference[0, reach + 1 :] == 0).all()
    assert (difference[1] == 0).all()


def test_a_clip_does_not_depend_on_its_batch(small: VideoModel) -> None:
    z = torch.randn(3, 4, 4, 16, 16)
    assert torch.equal(small.decode(z)[1:2], small.decode(z[1:2]))


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
    with pytest.raises(SfvError, match="no small decoder"):
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


def test_copying_steps_show_windows_of_whole_decoded_clips(tiny: VideoModel, store: Path) -> None:  # noqa: F811
    """What is made is decoded whole by the codec's own decoder; the small one sees a window and the same window."""
    whole = torch.randn(2, 4, 4, 16, 16)
    config = DecoderTraining(steps=1, clips=2, frames=3, copy_share=1.0)
    task = DecoderTask(shaken().requires_grad_(True), tiny.codec, ClipStore(store), config, lambda rngs: whole)
    latents, pixels = task._copied(Seeds(0, 0), torch.Generator().manual_seed(0))
    (first,) = (i for i in (0, 1) if torch.equal(latents, whole[:, i : i + 3]))
    torch.testing.assert_close(pixels, tiny.codec.decode(whole)[:, first : first + 3])
    assert task.step(0, Seeds(0, 0))["loss"] > 0


def test_made_clips_come_from_one_call(tiny: VideoModel) -> None:
    calls = []
    hook = tiny.denoiser.unet.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr,operator]
    clips = one_call(tiny.denoiser, Noise(tiny), 200.0)(Seeds(0, 0).clips(2))
    hook.remove()
    assert clips.shape == (2, 4, 4, 16, 16) and len(calls) == 1
