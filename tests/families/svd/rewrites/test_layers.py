"""Exact rewrites against the plain modules, fp64 and fp32, and memory formats that must not matter."""

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import nn

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd.networks import decoding_bytes
from sfv.families.svd.rewrites import layers as svd_folds
from sfv.families.svd.rewrites.layers import (
    AT_MOST,
    LeanAttention,
    TemporalConv,
    flatten_temporal_convs,
    fold_decoder,
    frame_wise,
    lean_attention,
)


def decoder(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4
    )
    with torch.no_grad():
        for p in vae.parameters():
            p += 0.05 * torch.randn(p.shape)
    return vae.decoder.to(dtype)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_folded_decoder_is_exact(dtype: torch.dtype, bound: float, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svd_folds, "CACHE", 64 * 16 * 16 * 2)
    plain, folded = decoder(dtype), decoder(dtype)
    flatten_temporal_convs(folded)
    fold_decoder(folded)
    assert any(type(m) is svd_folds.DecoderResBlock for m in folded.modules())
    assert not any(type(m) in (nn.Conv3d, SpatioTemporalResBlock) for m in folded.modules())
    z = torch.randn(10, 4, 8, 8, dtype=dtype)
    z_in = z.contiguous(memory_format=torch.channels_last) if last else z
    with torch.inference_mode():
        want = plain(z, image_only_indicator=torch.zeros(2, 5), num_frames=5)
        got = folded(z_in, image_only_indicator=torch.zeros(2, 5), num_frames=5)
    assert (got - want).norm() / want.norm() <= bound


def test_folds_keep_names_and_gradients() -> None:
    plain, folded = decoder(torch.float64), decoder(torch.float64)
    flatten_temporal_convs(folded)
    fold_decoder(folded)
    assert list(plain.state_dict()) == list(folded.state_dict())
    z = torch.randn(3, 4, 8, 8, dtype=torch.float64)
    for d in (plain, folded):
        d(z, image_only_indicator=torch.zeros(1, 3), num_frames=3).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), folded.parameters(), strict=True):
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-10, rtol=1e-8, msg=name)


def test_temporal_conv_is_conv3d() -> None:
    conv = nn.Conv3d(3, 5, (3, 1, 1), padding=(1, 0, 0)).double()
    x = torch.randn(2, 3, 6, 4, 7, dtype=torch.float64)
    want = conv(x)
    flatten_temporal_convs(nn.ModuleList([conv]))
    assert type(conv) is TemporalConv
    torch.testing.assert_close(conv(x), want, atol=1e-12, rtol=0)


def test_other_convolutions_stay() -> None:
    others = nn.ModuleList([nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, (3, 1, 1))])
    flatten_temporal_convs(others)
    assert all(type(c) is nn.Conv3d for c in others)


def test_frame_wise_never_changes_the_result() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1).double()
    x = torch.randn(7, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(frame_wise(layer, x, few=2), layer(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("tokens", [1, 5, 0], ids=["one token", "five tokens", "self"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_lean_attention_is_exact(tokens: int, dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    plain = Attention(64, cross_attention_dim=48 if tokens else None, heads=2, dim_head=32).to(dtype)
    x = torch.randn(3, 10, 64, dtype=dtype, requires_grad=True)
    context = torch.randn(3, tokens, 48, dtype=dtype) if tokens else None
    want = plain(x, encoder_hidden_states=context)
    wanted = torch.autograd.grad(want.square().sum(), plain.to_v.weight)[0]
    lean_attention(plain)
    assert isinstance(plain.processor, LeanAttention)
    got = plain(x, encoder_hidden_states=context)
    gradient = torch.autograd.grad(got.square().sum(), plain.to_v.weight)[0]
    assert (got - want).norm() / want.norm() <= bound
    assert (gradient - wanted).norm() / wanted.norm() <= bound


def test_lean_attention_keeps_to_what_it_knows() -> None:
    normed = Attention(64, heads=2, dim_head=32, residual_connection=True)
    lean_attention(normed)
    assert not isinstance(normed.processor, LeanAttention)


def test_decoding_goes_on_with_fewer_frames_when_memory_is_short(
    tiny: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pixels from the same latents; when nothing is left to try, one sentence."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 5, 4, 8, 8, generator=rng)
    with torch.no_grad():
        whole, real = tiny.codec.decode(latents), tiny.codec.decode_raw
        tried: list[int] = []

        def short_of_memory(raw: torch.Tensor) -> torch.Tensor:
            tried.append(AT_MOST.get())
            if tried[-1] > least:
                raise torch.OutOfMemoryError("full")
            return real(raw)

        monkeypatch.setattr(tiny.codec, "decode_raw", short_of_memory)
        least = 1
        assert torch.allclose(tiny.codec.decode(latents), whole, atol=1e-5) and tried == [5, 4, 1]
        least = 0
        with pytest.raises(SfvError, match="even a frame at a time"):
            tiny.codec.decode(latents)
    assert AT_MOST.get() > 1000


def test_decoding_is_planned_by_an_estimate() -> None:
    """Fewer frames together need less; 14 frames of 576 x 1024 in half precision, all at once: 15 GB."""
    frame = 128 * 576 * 1024 * 2
    needs = [decoding_bytes(frame, 14, n) for n in (14, 4, 1)]
    assert needs == sorted(needs, reverse=True) and 14e9 < needs[0] < 16e9
