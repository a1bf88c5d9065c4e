"""The fitted picture and seeded noise -> latents."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sfv.edm.noise import initial_noise, seeded_noise
from sfv.edm.sampling import GRID, consistency, consistency_sigmas, euler
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.fitting import whole
from sfv.settings import MOVES, Settings
from sfv.types import AnyFirst, Cond, Latents

Watch = Callable[[int, int], None]
"""watch(done, steps), after every network call."""
Peek = Callable[[int, Latents], None]
"""peek(step, x0_hat): what the network takes for the finished clip at that step."""
Knobs = dict[str, float | str | Tensor | None]
PICTURE_STREAM = 0x5F3759DF  # keeps the condition noise's seed apart from the latent noise's
NOISE_STREAM = 0x2545F4914F6CDD1D  # and that of later calls of the consistency sampler


def condition(
    model: VideoModel, first: AnyFirst, want: Settings, motions: Sequence[float] = (), seeds: Sequence[int] = ()
) -> Cond:
    """The fitted pictures and the knobs as a condition; `seeds` where there are several, `motions` as in `knobs`."""
    given = knobs(want, motions)
    if not want.noise_aug:
        return model.conditioner(first, **given)
    noise = seeded_noise([s ^ PICTURE_STREAM for s in seeds or [want.seed]], tuple(first.shape[1:]), model.device)
    return model.conditioner(first, **given, noise=noise)


def knobs(want: Settings, motions: Sequence[float] = ()) -> Knobs:
    """What a conditioner gets beside the pictures; the word for motion and the prompt only where there is one.

    `motions` are the pictures' own motion ids, for models that know such.
    """
    given: Knobs = {"fps": want.fps, "motion": want.motion, "noise_aug": want.noise_aug}
    given |= {"motion": torch.tensor(motions)} if any(m != want.motion for m in motions) else {}
    given |= {"program": float(program)} if (program := MOVES.get(want.move)) else {}
    return given | ({"prompt": want.prompt} if want.prompt else {})


def sample(
    model: VideoModel,
    cond: Cond,
    want: Settings,
    watch: Watch | None = None,
    peek: Peek | None = None,
    seeds: Sequence[int] = (),
) -> tuple[Latents, int]:
    """Latents and the number of network calls (a guided pair counts as two); `seeds` where there are several clips."""
    names = list(seeds) or [want.seed]
    shape = model.codec.latent_shape(whole(want.frames), whole(want.height), whole(want.width))
    steps, guidance = whole(want.steps), float(want.guidance or 1)
    if want.sampler == "consistency" and steps > GRID:
        raise SfvError(f"steps {steps}: a consistency model has {GRID} levels; 1 to 8 is what it is made for")
    again_noised = want.sampler == "consistency"
    sigmas = consistency_sigmas(steps, *model.noise_range) if again_noised else model.sigmas(steps)
    x = initial_noise(seeded_noise(names, shape, model.device), sigmas[0])
    after_step = _telling(steps, watch, peek)
    without, scale = None, None
    if guidance > 1:
        without = model.conditioner.unconditional(cond)
        scale = model.conditioner.guidance_over_frames(guidance, shape[0]).to(model.device)
    calls = steps if without is None else 2 * steps
    if want.sampler == "consistency":
        again = partial(_noise_again, names, shape, model.device)
        return _begun(model, consistency(model.denoiser, x, sigmas, cond, again, after_step, without, scale)), calls
    return _begun(model, euler(model.denoiser, x, sigmas, cond, without, scale, after_step)), calls


def _begun(model: VideoModel, latents: Latents) -> Latents:
    """The first frame is the picture: of a conditioned codec it has no change."""
    if model.codec.conditioned:
        latents = torch.cat([torch.zeros_like(latents[:, :1]), latents[:, 1:]], 1)
    return latents


def _telling(steps: int, watch: Watch | None, peek: Peek | None) -> Peek | None:
    """What a sampler calls after each step."""

    def after_step(i: int, x0_hat: Latents) -> None:
        if watch:
            watch(i + 1, steps)
        if peek:
            peek(i, x0_hat)

    return after_step if watch or peek else None


def _noise_again(seeds: list[int], shape: tuple[int, ...], device: torch.device, call: int) -> Tensor:
    """Fresh noise for a later call of the consistency sampler."""
    return seeded_noise([(s + call * NOISE_STREAM) % 2**63 for s in seeds], shape, device)
