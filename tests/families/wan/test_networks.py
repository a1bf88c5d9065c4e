"""Our Euler over D against diffusers' WanImageToVideoPipeline, same noise; features, adapters, recomputation."""

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny_wan
import torch
from tiny_wan import SIZES, WORDS, apart, noise, ours, picture, pixels_of, theirs

from sfv.families.base import VideoModel
from sfv.families.wan.networks import WanDenoiser


@pytest.fixture(scope="module")
def pipeline(wan_folder: Path) -> Any:
    return tiny_wan.stock(wan_folder)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize(("size", "frames"), SIZES)
@pytest.mark.parametrize("steps", [1, 5, 25])
def test_latents_equal_the_pipeline(
    wan: VideoModel, pipeline: Any, steps: int, size: tuple[int, int], frames: int, scale: float
) -> None:
    error = apart(wan, pipeline, size, frames, steps, scale)
    assert error <= 1e-4, f"relative error {error:.2e}"


def test_decoded_frames_equal_the_pipeline(wan: VideoModel, pipeline: Any) -> None:
    image, n = picture(64, 96), noise(wan, 9, (64, 96))
    want = torch.as_tensor(theirs(pipeline, image, n, 9, 2, 4.0, "pt"))
    got = wan.codec.decode(ours(wan, image, n, 2, 4.0))
    torch.testing.assert_close((got / 2 + 0.5).clamp(0, 1), want, atol=1e-4, rtol=1e-4)


@pytest.fixture
def asked(wan: VideoModel) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Two noised clips, their levels, and a condition."""
    x = 30 * noise(wan, 9, (64, 96), clips=2)
    cond = wan.conditioner(pixels_of(picture(64, 96)).expand(2, -1, -1, -1), prompt=WORDS)
    return x, torch.tensor([0.4, 30.0]), cond


def test_the_first_frame_is_the_picture_whatever_is_noised(wan: VideoModel, asked: Any) -> None:
    """D returns it at every level, and what stands in its place in x changes nothing."""
    x, sigma, cond = asked
    other = torch.cat([x[:, :1] + 1, x[:, 1:]], 1)
    with torch.inference_mode():
        got, same = wan.denoiser(x, sigma, cond), wan.denoiser(other, sigma, cond)
    torch.testing.assert_close(got[:, :1], cond["first"], atol=1e-5, rtol=1e-5)
    assert torch.equal(got[:, 1:], same[:, 1:])


def test_features_equal_hooks_bit_for_bit_and_stop_early(wan: VideoModel, asked: Any) -> None:
    x, sigma, cond = asked
    blocks = wan.denoiser.blocks()
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        b.register_forward_hook(lambda _m, _i, out, i=i: seen.__setitem__(i, out)) for i, b in enumerate(blocks, 1)
    ]
    with torch.inference_mode():
        wan.denoiser(x, sigma, cond)
        whole = dict(seen)
        seen.clear()
        features = wan.denoiser.features(x, sigma, cond)
    for hook in hooks:
        hook.remove()
    assert sorted(whole) == [1, 2, 3, 4] and sorted(seen) == [1, 2, 3]
    for i, h, channels in zip((1, 2, 3), features, wan.denoiser.feature_channels, strict=True):
        assert h.shape == (2, 3, channels, 2, 3)
        assert torch.equal(h.permute(0, 1, 3, 4, 2).flatten(1, 3), whole[i])


def test_adapters_start_at_nothing_switch_off_and_merge(wan: VideoModel, asked: Any) -> None:
    x, sigma, cond = asked
    D = copy.deepcopy(wan.denoiser)
    before, names = D(x, sigma, cond).detach(), list(D.state_dict())
    params = D.adapt(4)
    assert torch.equal(D(x, sigma, cond), before)
    with torch.no_grad():
        for p in params:
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    changed = D(x, sigma, cond).detach()
    assert not torch.allclose(changed, before, rtol=1e-3)
    with D.plain():
        assert torch.equal(D(x, sigma, cond), before)
    keys = D.adapter_state()
    assert len(keys) == len(params) == 4 * (8 + 2) * 2
    assert "transformer.blocks.0.attn1.to_q.lora_A.weight" in keys
    D.merge()
    assert list(D.state_dict()) == names
    torch.testing.assert_close(D(x, sigma, cond).detach(), changed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lora", [0, 4])
def test_recomputing_changes_no_gradient(wan: VideoModel, asked: Any, lora: int) -> None:
    x, sigma, cond = asked
    grads = []
    for again in (False, True):
        D = copy.deepcopy(wan.denoiser)
        assert isinstance(D, WanDenoiser)
        params = D.adapt(lora) if lora else list(D.requires_grad_(True).parameters())
        if again:
            D.recompute()
        (D(x, sigma, cond).square().mean() + D.features(x, sigma, cond)[-1].square().mean()).backward()
        grads.append([p.grad for p in params])
    assert all(g is not None for g in grads[0])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_every_weight_learns(wan: VideoModel, asked: Any) -> None:
    x, sigma, cond = asked
    D = copy.deepcopy(wan.denoiser).requires_grad_(True)
    D(x, sigma, cond).square().mean().backward()
    assert not [n for n, p in D.named_parameters() if p.grad is None or not p.grad.any()]
