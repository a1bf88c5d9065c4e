"""Where a teacher ends when it starts from given noise: pairs for a student's regression (DMD, 2311.18828, Eq. 9)."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange, add_noise
from sfv.edm.sampling import euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import fingerprint
from sfv.media import replacing
from sfv.training.batches import ClipSampler
from sfv.training.loop_pool import array_on_disk
from sfv.training.seeds import Rngs, generator
from sfv.types import Cond, Latents

SEED = 13


class Endpoints:
    """`count` pairs of noise and condition, each with the teacher's Euler endpoint.

    An endpoint is made when it is first asked for and kept in a folder; several processes share one. The folder belongs
    to one run: its conditions are what that run's configuration draws.
    """

    def __init__(
        self,
        folder: Path,
        teacher: Denoiser,
        batches: ClipSampler,
        noise: NoiseRange,
        count: int,
        steps: int,
        guidance: float,
    ) -> None:
        """SfvError if another teacher or other settings made the folder."""
        self.teacher, self.batches, self.count, self.guidance = teacher, batches, count, guidance
        self.sigmas = karras_sigmas(steps, *noise)
        self.shape = tuple(self._start([0])[0].shape[1:])
        folder.mkdir(parents=True, exist_ok=True)
        made_by = {"teacher": fingerprint(teacher), "count": count, "steps": steps, "guidance": guidance}
        text, note = json.dumps(made_by | {"shape": self.shape}, sort_keys=True), folder / "endpoints.json"
        if note.exists() and note.read_text() != text:
            raise SfvError(f"{folder} was made by another teacher or with other settings; delete it")
        with replacing(note) as beside:
            beside.write_text(text)
        self.kept = array_on_disk(folder / "latents.f16", np.float16, (count, *self.shape))
        self.done = array_on_disk(folder / "made.u8", np.uint8, (count,))

    def draw(self, rngs: Rngs) -> tuple[Latents, Latents, Cond, Latents]:
        """One for each generator: x0 of the clip that lent its condition, the noise, the condition, the endpoint."""
        at = [int(torch.randint(self.count, (), generator=g)) for g in rngs.each]
        x0, n, cond = self._start(at)
        missing = [i for i, k in enumerate(at) if not self.done[k]]
        if missing:
            some = {k: v[missing] for k, v in cond.items()}
            for i, end in zip(missing, self._end(n[missing], some), strict=True):
                self.kept[at[i]] = end.half().cpu().numpy()
                self.done[at[i]] = 1  # last: whoever sees it sees the rest
        ends = torch.from_numpy(np.stack([self.kept[k] for k in at])).float()
        return x0, n, cond, ends.to(x0.device)

    def _start(self, at: list[int]) -> tuple[Latents, Latents, Cond]:
        rngs = Rngs(generator(SEED, -1), tuple(generator(SEED, k) for k in at))
        x0, cond = self.batches.draw(rngs)
        return x0, rngs.normal(*x0.shape[1:]).to(x0.device), cond

    @torch.no_grad()
    def _end(self, n: Latents, cond: Cond) -> Latents:
        sigma = self.sigmas[:1].to(n.device).expand(len(n))
        x = add_noise(torch.zeros_like(n), sigma, n)
        guidance: tuple[Cond, Tensor] | tuple[None, None] = (None, None)
        if self.guidance > 1:
            conditioner = self.batches.conditioner
            scale = conditioner.guidance_over_frames(self.guidance, n.shape[1]).to(n.device)
            guidance = conditioner.unconditional(cond), scale
        with self.teacher.plain():  # it may be the student too, by adapters
            return euler(self.teacher, x, self.sigmas, cond, *guidance).float()
