"""SVD at its own size on one GPU: diffusers' pipeline and ours over one set of random weights.

Random weights say nothing about quality; seconds and memory do not depend on them. docs/full-size-speed.md.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sfv.costs.roofline import Ceilings, Roofline, once
from sfv.edm.denoiser import per_clip
from sfv.edm.noise import initial_noise, seeded_noise
from sfv.families.base import VideoModel
from sfv.families.load import random_pair, widened
from sfv.generation.fitting import resolve
from sfv.generation.generate import generate
from sfv.generation.sampling import condition
from sfv.media.pictures import Uint8Picture
from sfv.media.pixels import as_pixels, to_frames
from sfv.settings import Settings
from sfv.speed.optimize import optimize
from sfv.types import Cond

Result = dict[str, Any]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Plan:
    """What is run: networks of `svd_random.SIZES`, clips (frames, height, width), and how long it may take."""

    size: str
    clip: tuple[int, int, int]
    device: torch.device
    backend: str
    rounds: int = 20
    budget: float = 400.0
    """Seconds after which no further round begins."""
    teacher_steps: int = 25

    def pair(self, dtype: torch.dtype) -> tuple[Any, VideoModel]:
        """diffusers' pipeline and ours."""
        return random_pair(self.size, self.clip, self.device, dtype)

    def picture(self) -> Uint8Picture:
        """One of noise."""
        rng = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (*self.clip[1:], 3), generator=rng, dtype=torch.uint8)


def clips(plan: Plan) -> Result:
    """Host picture -> host uint8 frames, interleaved: B25, B1, ours exact and fast; the first half of every median."""
    half, stock = best_half(plan)
    _, model = plan.pair(torch.bfloat16)
    ours = optimize(model, "exact", plan.backend)
    picture = plan.picture()
    teacher = model.defaults.model_copy(update={"steps": plan.teacher_steps, "guidance": 3.0})
    ways: dict[str, Call] = {
        "B25": lambda: stock.animate(picture, teacher, 0),
        "B1": lambda: stock.animate(picture, model.defaults, 0),
        "exact": lambda: generate(ours, picture, decoder="full"),
        "fast": lambda: generate(ours, picture, decoder="small"),
    }
    first = {k: once(ways[k], plan.device)[1] for k in ("B1", "exact", "fast")}
    peaks = {k: peak(ways[k], plan.device) for k in ("B1", "exact", "fast")}
    taken = interleaved(ways, plan)
    return {
        "backend": plan.backend,
        "steps_of_b25": plan.teacher_steps,
        "diffusers_precision": str(half).removeprefix("torch."),
        "rounds": len(taken["B25"]),
        "first_call_seconds": first,
        "peak_gb": peaks,
        "wall": {k: statistics.median(w for _, w in v) for k, v in taken.items()},
        "events": {k: statistics.median(e for e, _ in v) for k, v in taken.items()},
        "spread": {k: [min(w for _, w in v), max(w for _, w in v)] for k, v in taken.items()},
        "finite": finite(generate(ours, picture, decoder="full").latents),
    }


def best_half(plan: Plan) -> tuple[torch.dtype, Any]:
    """diffusers' pipeline in whichever half precision makes a one-step clip sooner here."""
    found = {}
    for dtype in (torch.float16, torch.bfloat16):
        found[dtype] = _one_step(plan, dtype)
        release(plan.device)
    dtype = min(found, key=lambda k: found[k])
    return dtype, plan.pair(dtype)[0]


def _one_step(plan: Plan, dtype: torch.dtype) -> float:
    """The quickest of three."""
    stock, model = plan.pair(dtype)
    taken = [once(lambda: stock.animate(plan.picture(), model.defaults, 0), plan.device)[1] for _ in range(3)]
    return min(taken)


def interleaved(ways: dict[str, Call], plan: Plan) -> dict[str, list[tuple[float, float]]]:
    """Rounds of every way in turn, (events, wall) seconds, until there are enough or the time is up; at least one."""
    taken: dict[str, list[tuple[float, float]]] = {k: [] for k in ways}
    began = time.monotonic()
    for _ in tqdm(range(plan.rounds), desc="clips", unit="round"):
        for name, call in ways.items():
            taken[name].append(once(call, plan.device))
        if time.monotonic() - began > plan.budget:
            break
    return taken


def stages(plan: Plan, top: Ceilings) -> Result:
    """Every stage of ours alone, beside its floor at this run's ceilings; uncompiled too, to tell kernels from
    compilation."""
    _, model = plan.pair(torch.bfloat16)
    eager = optimize(model, "exact", "eager")
    quick = eager if plan.backend == "eager" else optimize(model, "exact", plan.backend)
    result: Result = {"backend": plan.backend, "ceilings": asdict(top)}
    with torch.inference_mode():
        plain, calls = stage_calls(eager, plan), stage_calls(quick, plan)
        for name, call in calls.items():
            with Roofline(top) as counted:
                plain[name]()
            result[name] = timed(call, plan) | {"eager": timed(plain[name], plan)["events"]}
            result[name] |= {"tflop": counted.flops / 1e12, "gb": counted.bytes / 1e9, "floor": counted.floor}
    copied = plan.clip[0] * plan.clip[1] * plan.clip[2] * 3
    result["host copy"]["floor"] = copied / top.to_host
    return result


def stage_calls(model: VideoModel, plan: Plan) -> dict[str, Call]:
    """Stage -> a call of it alone, on inputs of its own."""
    want = resolve(Settings(decoder="full"), model)
    first = as_pixels(plan.picture(), model.device)
    cond, x, sigma = start(model, first, want)
    latents = model.denoiser(x, sigma, cond)
    pixels = model.decode(latents, first, "full")
    return {
        "clip": lambda: model.conditioner.embed(first),
        "encode": lambda: model.conditioner.codec.encode_raw(first[:, None]),  # type: ignore[operator, union-attr]
        "unet": lambda: model.denoiser(x, sigma, cond),
        "decode": lambda: model.decode(latents, first, "full"),
        "small decode": lambda: model.decode(latents, first, "small"),
        "host copy": lambda: to_frames(pixels),
    }


def start(model: VideoModel, first: Tensor, want: Settings) -> tuple[Cond, Tensor, Tensor]:
    """The network's condition, its noise, and the level of its one step."""
    shape = model.codec.latent_shape(*(int(getattr(model.defaults, k)) for k in ("frames", "height", "width")))
    sigma = torch.tensor([model.sigma_max], device=model.device)
    x = initial_noise(seeded_noise([0], shape, model.device), sigma)
    return condition(model, first, want), x, sigma


def timed(call: Call, plan: Plan) -> dict[str, float]:
    """Median seconds by events and by the wall."""
    for _ in range(3):
        call()
    taken = [once(call, plan.device) for _ in range(plan.rounds)]
    return {"events": statistics.median(e for e, _ in taken), "wall": statistics.median(w for _, w in taken)}


def errors(plan: Plan) -> Result:
    """How far one network call and its full decoding are from float32 on the same weights: ours, and diffusers' own
    modules in bfloat16 between the same formulas in float32."""
    stock, model = plan.pair(torch.bfloat16)
    truth = widened(model)
    want, first = resolve(Settings(decoder="full"), truth), as_pixels(plan.picture(), truth.device)
    with torch.inference_mode(), exact_float32():
        cond, x, sigma = start(truth, first, want)
        right = truth.denoiser(x, sigma, cond)
        drawn = truth.codec.decode(right)
    del truth
    release(plan.device)
    with torch.inference_mode():
        result: Result = {"diffusers bf16": off(theirs(stock.pipe, model, x, sigma, cond), right, drawn)}
    for backend in dict.fromkeys(("eager", plan.backend)):
        ours = optimize(model, "exact", backend)
        with torch.inference_mode():
            latents = ours.denoiser(x, sigma, cond)
            result[f"exact {backend}"] = off((latents, ours.codec.decode(latents)), right, drawn)
    return result


def theirs(pipe: Any, model: VideoModel, x: Tensor, sigma: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
    """diffusers' UNet and autoencoder as its pipeline calls them; latents and pixels."""
    c, dtype = model.denoiser.coefficients(sigma), pipe.unet.dtype
    picture = cond["image_latents"].float()[:, None].expand(-1, x.shape[1], -1, -1, -1)
    seen = torch.cat([per_clip(c.c_in) * x, picture], 2).to(dtype)
    arguments = {
        "encoder_hidden_states": cond["image_embeds"].to(dtype),
        "added_time_ids": cond["added_time_ids"].to(dtype),
    }
    raw = pipe.unet(seen, c.c_noise, **arguments, return_dict=False)[0]
    latents = per_clip(c.c_skip) * x + per_clip(c.c_out) * raw.float()
    scaled = (latents / pipe.vae.config.scaling_factor).to(dtype).flatten(0, 1)
    pixels = pipe.vae.decode(scaled, num_frames=latents.shape[1]).sample
    return latents, pixels.float().unflatten(0, latents.shape[:2])


def off(ours: tuple[Tensor, Tensor], latents: Tensor, pixels: Tensor) -> dict[str, float]:
    """Relative L2 errors."""
    both = zip(("latents", "pixels"), ours, (latents, pixels), strict=True)
    return {k: float((a.float() - b.float()).norm() / b.float().norm()) for k, a, b in both}


class exact_float32:
    """No TF32 inside the block."""

    def __enter__(self) -> None:
        self.before = copy.copy((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before


def peak(call: Call, device: torch.device) -> float | None:
    """GB that a call holds on the GPU at most, with all weights that lie there."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    once(call, device)
    return torch.cuda.max_memory_allocated(device) / 1e9


def release(device: torch.device) -> None:
    """Give freed memory back to the GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def finite(values: Tensor) -> bool:
    """Whether all are numbers: infinite ones run at another speed."""
    return bool(values.isfinite().all())
