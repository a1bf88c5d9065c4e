"""A model made ready for speed: exact rewrites, precision, a backend for every stage."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import nn

from sfv import kernels
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import for_gpu, load, rewritten, staged, staged_pictures
from sfv.settings import Backend, Profile, Speed
from sfv.speed.backends import build, refusal
from sfv.speed.record import choose
from sfv.system.device import has_bf16, pick_device


def optimize(
    model: VideoModel, profile: Profile | str = "exact", backend: Backend | str = "auto", clips: int | None = None
) -> VideoModel:
    """A quicker model of the same weights, for generation alone; the given one stays as it is.

    profile: "exact" rewrites the networks without changing their numbers (relative error 1e-6 in float32);
    "fast" also lets denoiser and encoder compute in bfloat16 on a CPU that has it. backend: "eager", "compile"
    (torch.compile; on an NVIDIA GPU block by block, then recorded as CUDA graphs), "graphs" (CUDA graphs alone),
    "openvino", or "auto": what `sfv optimize` found quickest on this machine for `clips` clips in one
    process (None: for many), else eager. Raises SfvError for a backend that is not there. `model.speed` of the result
    says what was taken, and every output holds it.
    """
    for given, known in ((profile, Profile), (backend, Backend)):
        if given not in get_args(known):
            raise SfvError(f"{given!r} is none of {', '.join(get_args(known))}")
    if backend != "auto" and (why := refusal(backend, model.device)):
        raise SfvError(why)
    dtype = precision(model, profile)
    chosen, reason = choose(model, profile, clips) if backend == "auto" else ({}, "as asked")
    taken: dict[str, str] = {}

    def wrap(stage: str, network: nn.Module) -> Any:
        best = chosen.get(stage, "eager")
        taken[stage] = backend if backend != "auto" else "eager" if refusal(best, model.device) else best
        return build(taken[stage], stage, network, dtype if stage == "unet" else None, model.hash)

    quick = staged(_ready(rewritten(model), wrap), wrap)
    if not taken:  # a family whose networks nothing else runs (families/plain.py)
        if backend not in ("auto", "eager"):
            raise SfvError(f"backend {backend}: {model.name} runs in eager mode alone; leave it out")
        taken, dtype, reason = {"unet": "eager"}, model.denoiser.dtype, "nothing else runs this family"
    quick.codec.encode_dtype = dtype if dtype != model.denoiser.dtype else None
    taken_as = {"profile": profile, "precision": str(dtype).removeprefix("torch."), **taken, "reason": reason}
    return replace(quick, speed=taken_as)


def _ready(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A rewritten model; on an NVIDIA GPU with kernels, its networks for pictures wrapped too."""
    if model.device.type != "cuda":
        return model
    return staged_pictures(model if kernels.refusal(model.device) else for_gpu(model), wrap)


def precision(model: VideoModel, profile: str) -> torch.dtype:
    """What the denoiser computes in."""
    stored = model.denoiser.dtype
    quick = profile == "fast" and model.device.type == "cpu" and stored == torch.float32 and has_bf16()
    return torch.bfloat16 if quick else stored


def open_model(name: str, device: str, speed: Speed | None = None, clips: int | None = None) -> VideoModel:
    """Load a model by name and optimise it."""
    speed = speed or Speed()
    return optimize(load(name, pick_device(device)), speed.profile, speed.backend, clips)
