"""The exact rewrites: the same numbers as diffusers' own networks over the same weights, one by one and together."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.families.base import VideoModel
from sfv.families.load import load, rewritten
from sfv.families.svd.blocks import Upsample
from sfv.families.svd.networks import SVDCodec, SVDDenoiser
from sfv.families.svd.rewrites import exact as rewrites
from sfv.families.svd.stock_networks import stock_twin
from sfv.families.svd.unet import UNet
from sfv.generation.generate import generate

Rewrite = Callable[[Any], object]
ONE_BY_ONE: dict[str, Rewrite] = {
    "cross-attention": rewrites.collapse_cross_attention,
    "polyphase": rewrites.polyphase,
}
"""Those that work alone; blends and embeddings are folded together."""


@pytest.fixture(scope="module")
def plain_unet(tiny_folder: Any) -> UNet:
    """Without rewrites, in float64."""
    denoiser = load(tiny_folder).denoiser
    assert isinstance(denoiser, SVDDenoiser)
    return denoiser.unet.double()


@pytest.fixture(scope="module")
def stock(plain_unet: UNet) -> Any:
    """diffusers' UNet over the same weights."""
    return stock_twin(plain_unet)


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
        out = unet(**given | {"sample": sample, "encoder_hidden_states": token})
    return out if isinstance(out, Tensor) else out.sample  # type: ignore[no-any-return]


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_each_rewrite_is_exact_in_float64(plain_unet: UNet, stock: Any, name: str) -> None:
    own = copy.deepcopy(plain_unet)
    ONE_BY_ONE[name](own)
    given = inputs(torch.float64)
    changed = sum(type(a) is not type(b) for a, b in zip(own.modules(), plain_unet.modules(), strict=True))
    assert changed > 0 and off(run(own, given), run(stock, given)) <= 1e-12


@pytest.mark.parametrize(("b", "side"), [(1, 16), (2, 16), (1, 12)], ids=["one clip", "two told apart", "odd sides"])
def test_all_together_are_exact(plain_unet: UNet, b: int, side: int) -> None:
    """Embeddings of two clips differ; a side of 12 is not whole after halving and takes the plain way up."""
    for kind, most in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        plain = copy.deepcopy(plain_unet).to(kind)
        theirs = stock_twin(plain)
        given = inputs(kind, b, side=side)
        before = {k: v.clone() for k, v in plain.state_dict().items()}
        folded = rewrites.exact(plain)
        assert off(run(folded, given), run(theirs, given)) <= most
        assert off(run(folded, given), run(plain, given)) <= most  # from kept biases
        assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())


def test_what_does_not_change_is_shared(plain_unet: UNet) -> None:
    folded = dict(rewrites.exact(plain_unet).named_parameters())
    same = [k for k, p in plain_unet.named_parameters() if folded[k] is p]
    assert len(same) > 0.9 * len(folded)
    assert all(".temporal_res_block.conv2." in k for k in folded.keys() - set(same))


def test_kept_biases_are_bounded_and_right(plain_unet: UNet, stock: Any) -> None:
    folded = rewrites.exact(copy.deepcopy(plain_unet))
    given = inputs(torch.float64, 1)
    for i in range(2 * rewrites.KEPT):
        given["timestep"] = torch.tensor([0.1 * i], dtype=torch.float64)
        assert off(run(folded, given), run(stock, given)) <= 1e-12
    assert len(folded.biases_of) == rewrites.KEPT


def test_embeddings_need_folded_blocks(plain_unet: UNet) -> None:
    with pytest.raises(TypeError, match="fold_blends first"):
        rewrites.fold_embeddings(copy.deepcopy(plain_unet))


def test_one_token_is_what_rewrites_are_for(plain_unet: UNet) -> None:
    given = inputs(torch.float64) | {"encoder_hidden_states": torch.zeros(2, 3, 32, dtype=torch.float64)}
    with pytest.raises(ValueError, match="3 tokens"):
        rewrites.exact(plain_unet)(**given)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 1, 1)])
def test_polyphase_by_hand(shape: tuple[int, ...]) -> None:
    """Against interpolation and convolution, by torch alone."""
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    layer = Upsample(shape[1]).double()
    want = F.conv2d(F.interpolate(x, scale_factor=2.0), layer.conv.weight, layer.conv.bias, padding=1)
    rewrites.polyphase(layer)
    assert type(layer) is rewrites.PolyphaseUpsample
    with torch.no_grad():
        assert off(layer(x), want) <= 1e-12


def test_the_decoder_too(tiny_folder: Any) -> None:
    """Polyphase against diffusers' temporal decoder, in float64."""
    codec = load(tiny_folder).codec
    assert isinstance(codec, SVDCodec)
    vae = codec.vae.double()
    theirs = stock_twin(vae)
    rewrites.polyphase(vae.decoder)
    z = torch.randn(6, vae.config.latent_channels, 8, 6, dtype=torch.float64)
    with torch.no_grad():
        assert off(vae.decode(z, 3), theirs.decode(z, num_frames=3).sample) <= 1e-12


def test_a_whole_model_makes_the_same_clip(tiny: VideoModel, tiny_folder: Any) -> None:
    picture = torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weights = {k: v.clone() for k, v in tiny.denoiser.state_dict().items()}
    plain, folded = (generate(m, picture, steps=2, guidance=2.0) for m in (tiny, rewritten(tiny)))
    assert off(folded.latents, plain.latents) <= 1e-5
    assert int((plain.frames.int() - folded.frames.int()).abs().max()) <= 1
    assert all(torch.equal(v, weights[k]) for k, v in tiny.denoiser.state_dict().items())
