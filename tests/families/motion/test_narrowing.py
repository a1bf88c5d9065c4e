"""Decoders with fewer channels."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from trainers import train_part

from sfv.errors import SfvError
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.codec import MotionCodecConfig, MotionNetworks, Residual
from sfv.families.motion.narrowing import narrowed
from sfv.families.motion.networks import MotionCodec

WIDE = MotionCodecConfig(latent_channels=4, encoder_widths=(8, 8, 8), widths=(12, 10, 8, 6))


def busy(config: MotionCodecConfig) -> MotionNetworks:
    """Networks in which every layer says something."""
    networks = MotionNetworks(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in networks.decoder.parameters():
        p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    return networks


def drawn(networks: MotionNetworks) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(1, 2, 4, 4, 4, generator=generator) * 0.5
    return networks.draw(z, torch.rand(1, 4, 64, 64, generator=generator) * 2 - 1).frames.detach()


def apart(some: MotionNetworks, others: MotionNetworks) -> float:
    return float((drawn(some) - drawn(others)).abs().mean())


@pytest.mark.parametrize("size", range(4))
def test_channels_that_nothing_reads_are_left_out_without_a_trace(size: int) -> None:
    networks = busy(WIDE)
    decoder, unread = networks.decoder, [0, 3]
    blocks = [block for block in decoder.levels[size].children() if isinstance(block, Residual)]
    readers = [*(block.first for block in blocks), decoder.flow[size]]
    readers += [decoder.narrow[size]] if size < 3 else [decoder.flow[3], decoder.exit]
    for layer in readers:
        assert isinstance(layer, nn.Conv2d)
        layer.weight[:, unread] = 0
    for block in blocks:
        block.second.weight[:, [1, 2]] = 0
    widths = list(WIDE.widths)
    widths[size] -= 2
    less = narrowed(networks, tuple(widths))  # type: ignore[arg-type]
    assert [p.shape[:2] for p in less.decoder.levels[size].parameters() if p.ndim == 4] == [(widths[size],) * 2] * 4
    assert apart(less, networks) < 1e-4, "sums in another order, no more"
    widths[size] -= 1
    assert apart(narrowed(networks, tuple(widths)), networks) > 1e-2, "the next one counts"  # type: ignore[arg-type]


def test_other_channels_leave_a_trace_and_a_second_time_is_as_good() -> None:
    networks = busy(WIDE)
    assert torch.equal(drawn(narrowed(networks, WIDE.widths)), drawn(networks))
    less = narrowed(networks, (12, 10, 4, 6))
    assert apart(less, networks) > 1e-2
    again = narrowed(less, (8, 10, 4, 6))
    assert again.config.picture_widths == (12, 10, 8), "the picture's features stay as they are"
    assert drawn(again).isfinite().all()


def test_what_draws_does_not_count_where_nothing_is_drawn() -> None:
    networks = busy(MotionCodecConfig.model_validate(WIDE.model_dump() | {"draws": False, "trust_bias": 7}))
    networks.decoder.exit.weight[:, :2] = 100  # loud, and never asked
    networks.decoder.flow[3].weight[:, :2] = 0  # type: ignore[index, operator]
    assert apart(narrowed(networks, (12, 10, 8, 4)), networks) < 1e-4


def test_a_narrower_decoder_is_trained_and_opens(begun_loops: Path, store: Path, tmp_path: Path) -> None:
    out = shutil.copytree(begun_loops, tmp_path / "model")
    had = motion_folder.load(out, "teacher", torch.float32, "m").codec
    assert isinstance(had, MotionCodec)
    a, b, c, d = had.networks.config.widths
    with pytest.raises(SfvError, match=rf"widths .*{a + 1}.*: the decoder has \[{a}, {b}, {c}, {d}\] channels"):
        train_part("decoder", store, out, "loops-debug", (f"widths=[{a + 1},{b},{c},{d}]",))
    train_part("decoder", store, out, "loops-debug", (f"widths=[{a},{b},{c // 2},{d}]",))
    codec = motion_folder.load(out, "teacher", torch.float32, "m").codec
    assert isinstance(codec, MotionCodec)
    assert codec.networks.config.widths == (a, b, c // 2, d)
    assert codec.networks.config.picture_widths == (a, b, c)
