"""Our sampler over D against diffusers' StableVideoDiffusionPipeline, same noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
from PIL import Image

from sfv.edm.sampling import euler, karras_sigmas
from sfv.families.base import VideoModel

FRAMES = 4


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> Any:
    pipe = StableVideoDiffusionPipeline.from_pretrained(tiny_folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(height: int, width: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def theirs(pipe: Any, images: list[Image.Image], n: torch.Tensor, steps: int, scale: float, per: int, kind: str) -> Any:
    width, height = images[0].size
    return pipe(
        images,
        height=height,
        width=width,
        num_frames=FRAMES,
        num_inference_steps=steps,
        max_guidance_scale=scale,
        num_videos_per_prompt=per,
        latents=n,
        generator=torch.Generator().manual_seed(7),
        output_type=kind,
    ).frames


@torch.inference_mode()
def ours(
    model: VideoModel, images: list[Image.Image], n: torch.Tensor, steps: int, scale: float, per: int
) -> torch.Tensor:
    pixels = torch.stack([torch.from_numpy(np.array(i)) for i in images]).permute(0, 3, 1, 2).float() / 127.5 - 1
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(7))
    cond = model.conditioner(pixels, fps=7, motion=127, noise_aug=0.02, noise=noise)
    cond = {k: v.repeat_interleave(per, 0) for k, v in cond.items()}
    sigmas = karras_sigmas(steps, model.sigma_min, model.sigma_max)
    x = n * (sigmas[0] ** 2 + 1).sqrt()
    if scale == 1:
        return euler(model.denoiser, x, sigmas, cond)
    without = model.conditioner.unconditional(cond)
    return euler(model.denoiser, x, sigmas, cond, without, torch.linspace(1, scale, FRAMES))


SIZES = [((32, 32), 1, 1), ((32, 48), 2, 1), ((48, 32), 1, 2)]
WAYS = [(steps, *of) for of in SIZES for steps in (1, 5, 25)]


@pytest.mark.parametrize(
    ("steps", "size", "batch", "per"),
    [pytest.param(*way, marks=[pytest.mark.long] if way[0] == 25 and way[2:] != (1, 1) else []) for way in WAYS],
)
def test_latents_equal_the_pipeline(
    tiny: VideoModel, pipeline: Any, steps: int, size: Any, batch: int, per: int
) -> None:
    images = [picture(*size, seed=s) for s in range(batch)]
    n = torch.randn(batch * per, FRAMES, 4, size[0] // 2, size[1] // 2, generator=torch.Generator().manual_seed(3))
    want = theirs(pipeline, images, n.clone(), steps, 3.0, per, "latent")
    got = ours(tiny, images, n, steps, 3.0, per)
    error = (got - want).norm() / want.norm()
    assert error <= (1e-3 if steps == 1 else 1e-4), f"relative error {error:.2e}"


def test_decoded_frames_equal_the_pipeline(tiny: VideoModel, pipeline: Any) -> None:
    n = torch.randn(1, FRAMES, 4, 16, 24, generator=torch.Generator().manual_seed(4))
    images = [picture(32, 48, 0)]
    want = theirs(pipeline, images, n.clone(), 5, 3.0, 1, "pt")
    pixels = tiny.codec.decode(ours(tiny, images, n, 5, 3.0, 1))
    torch.testing.assert_close((pixels / 2 + 0.5).clamp(0, 1), torch.as_tensor(want), atol=1e-4, rtol=1e-4)


def test_one_step_is_the_formula(tiny: VideoModel) -> None:
    """D = c_skip x + c_out F equals the scheduler's pred_original_sample; its Euler step only within 1e-3."""
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        timestep_type="continuous",
        sigma_min=tiny.sigma_min,
        sigma_max=tiny.sigma_max,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
    )
    scheduler.set_timesteps(1)
    cond = tiny.conditioner(torch.rand(1, 3, 32, 32) * 2 - 1, fps=7)
    x = torch.randn(1, FRAMES, 4, 16, 16) * scheduler.init_noise_sigma
    t = scheduler.timesteps[0]
    with torch.inference_mode():
        raw = tiny.denoiser.network(scheduler.scale_model_input(x, t), t[None], cond)
        out = scheduler.step(raw, t, x)
        got = tiny.denoiser(x, torch.tensor([700.0]), cond)
    assert (
        got - out.pred_original_sample
    ).norm() / got.norm() <= 3e-6  # float32; 1.2e-6 on a processor with AVX2 alone
    torch.testing.assert_close(got, out.prev_sample, atol=1e-3, rtol=1e-3)


def test_unguided_one_step_equals_the_pipeline(tiny: VideoModel, pipeline: Any) -> None:
    n = torch.randn(1, FRAMES, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    images = [picture(32, 32, 1)]
    want = theirs(pipeline, images, n.clone(), 1, 1.0, 1, "latent")
    torch.testing.assert_close(ours(tiny, images, n, 1, 1.0, 1), want, atol=1e-3, rtol=1e-3)


def test_features_equal_hooks_bit_for_bit(tiny: VideoModel) -> None:
    seen: list[torch.Tensor] = []
    blocks = tiny.denoiser.unet.down_blocks  # type: ignore[union-attr]
    hooks = [b.register_forward_hook(lambda _m, _i, out: seen.append(out[0])) for b in blocks]  # type: ignore[union-attr]
    cond = tiny.conditioner(torch.rand(2, 3, 32, 32) * 2 - 1, fps=7)
    x, sigma = torch.randn(2, FRAMES, 4, 16, 16), torch.tensor([0.4, 30.0])
    with torch.inference_mode():
        tiny.denoiser(x, sigma, cond)
        for hook in hooks:
            hook.remove()
        features = tiny.denoiser.features(x, sigma, cond)
    assert len(features) == len(seen) == len(tiny.denoiser.feature_channels)
    for ours_, hooked, channels in zip(features, seen, tiny.denoiser.feature_channels, strict=True):
        assert ours_.shape[2] == channels
        assert torch.equal(ours_.flatten(0, 1), hooked)
