"""The exact rewrites: the same numbers as diffusers' own modules, one by one and together."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from sfv.families.base import VideoModel
from sfv.families.load import load_stock, rewritten
from sfv.families.svd.rewrites import unet as rewrites
from sfv.families.svd.rewrites.layers import flatten_temporal_convs, fold_decoder
from sfv.generation.generate import generate

Rewrite = Callable[[Any], object]
ONE_BY_ONE: dict[str, Rewrite] = {
    "cross-attention": rewrites.collapse_cross_attention,
    "polyphase": rewrites.polyphase,
    "temporal convolutions": flatten_temporal_convs,
}
"""Those that work alone on diffusers' UNet; blends and embeddings are folded together."""


@pytest.fixture(scope="module")
def stock(tiny_folder: Any) -> UNetSpatioTemporalConditionModel:
    """diffusers' UNet with nothing of ours, in float64."""
    return load_stock(tiny_folder)[0].pipe.unet.double().eval()


def inputs(kind: torch.dtype, b: int = 2, f: int = 3, side: int = 16) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)

    def n(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(kind)

    ids = torch.tensor([[6.0, 127.0, 0.02], [9.0, 30.0, 0.1]], dtype=kind)[:b]
    levels = torch.tensor([1.6, -0.3], dtype=kind)[:b]
    return {
        "sample": n(b, f, 8, side, side),
        "timestep": levels,
        "encoder_hidden_states": n(b, 1, 32),
        "added_time_ids": ids,
    }


def run(unet: Any, given: dict[str, Tensor]) -> Tensor:
    channels = unet.config.in_channels, unet.config.cross_attention_dim
    b, f, _, y, x = given["sample"].shape
    rng = torch.Generator().manual_seed(1)
    kind = given["sample"].dtype
    sample = torch.randn(b, f, channels[0], y, x, generator=rng).to(kind)
    token = torch.randn(b, 1, channels[1], generator=rng).to(kind)
    with torch.no_grad():
        out: Tensor = unet(**given | {"sample": sample, "encoder_hidden_states": token}, return_dict=False)[0]
    return out


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_each_rewrite_is_exact_in_float64(stock: Any, name: str) -> None:
    own = copy.deepcopy(stock)
    ONE_BY_ONE[name](own)
    given = inputs(torch.float64)
    changed = sum(type(a) is not type(b) for a, b in zip(own.modules(), stock.modules(), strict=True))
    assert changed > 0 and off(run(own, given), run(stock, given)) <= 1e-12


@pytest.mark.parametrize(("b", "side"), [(1, 16), (2, 16), (1, 12)], ids=["one clip", "two told apart", "odd sides"])
def test_all_together_are_exact(stock: Any, b: int, side: int) -> None:
    """Embeddings of two clips differ; a side of 12 is not whole after halving and takes diffusers' way up."""
    for kind, most in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        plain = copy.deepcopy(stock).to(kind)
        given = inputs(kind, b, side=side)
        before = {k: v.clone() for k, v in plain.state_dict().items()}
        folded = rewrites.exact(plain)
        assert off(run(folded, given), run(plain, given)) <= most
        assert off(run(folded, given), run(plain, given)) <= most  # from kept biases
        assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())


def test_what_does_not_change_is_shared(stock: Any) -> None:
    folded = dict(rewrites.exact(stock).named_parameters())
    same = [k for k, p in stock.named_parameters() if folded[k] is p]
    assert len(same) > 0.9 * len(folded)
    assert all(".temporal_res_block.conv2." in k for k in folded.keys() - set(same))


def test_kept_biases_are_bounded_and_right(stock: Any) -> None:
    folded = rewrites.exact(copy.deepcopy(stock))
    given = inputs(torch.float64, 1)
    for i in range(2 * rewrites.KEPT):
        given["timestep"] = torch.tensor([0.1 * i], dtype=torch.float64)
        assert off(run(folded, given), run(stock, given)) <= 1e-12
    assert len(folded.biases_of) == rewrites.KEPT


def test_embeddings_need_folded_blocks(stock: Any) -> None:
    with pytest.raises(TypeError, match="fold_blends first"):
        rewrites.fold_embeddings(copy.deepcopy(stock))


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 1, 1)])
def test_polyphase_by_hand(shape: tuple[int, ...]) -> None:
    """Against interpolation and convolution, by torch alone."""
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    layer = rewrites.Upsample2D(shape[1], use_conv=True, out_channels=6).double()
    want = F.conv2d(F.interpolate(x, scale_factor=2.0), layer.conv.weight, layer.conv.bias, padding=1)
    rewrites.polyphase(layer)
    assert type(layer) is rewrites.PolyphaseUpsample
    with torch.no_grad():
        assert off(layer(x), want) <= 1e-12


def test_the_decoder_too(tiny_folder: Any) -> None:
    """diffusers' temporal decoder in float64: folded, then polyphase."""
    vae = load_stock(tiny_folder)[0].pipe.vae.double().eval()
    own = copy.deepcopy(vae)
    fold_decoder(own.decoder)
    rewrites.polyphase(own.decoder)
    flatten_temporal_convs(own)
    z = torch.randn(6, vae.config.latent_channels, 8, 6, dtype=torch.float64)
    with torch.no_grad():
        assert off(own.decode(z, num_frames=3).sample, vae.decode(z, num_frames=3).sample) <= 1e-12


def test_a_whole_model_makes_the_same_clip(tiny: VideoModel, tiny_folder: Any) -> None:
    picture = torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weights = {k: v.clone() for k, v in tiny.denoiser.state_dict().items()}
    plain, folded = (generate(m, picture, steps=2, guidance=2.0) for m in (tiny, rewritten(tiny)))
    assert off(folded.latents, plain.latents) <= 1e-5
    assert int((plain.frames.int() - folded.frames.int()).abs().max()) <= 1
    assert all(torch.equal(v, weights[k]) for k, v in tiny.denoiser.state_dict().items())


def test_modules_of_another_kind_are_left_alone() -> None:
    layer = rewrites.Upsample2D(4, use_conv=False)
    rewrites.polyphase(nn.Sequential(layer))
    assert type(layer) is rewrites.Upsample2D
