"""The shared step against the naive one: the same updates, side by side in one process.

    python runs/benches/bench_step.py OUT.json [ROUNDS]

Naive: the discriminator's update makes its own fake and takes its own features; the generator's update makes the fake
again, takes its features again and the real clip's again. Shared: one generator forward and one pass over each clip
serve both. With latents encoded on the way, the naive step also pays for the codec.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch

import sfv
from sfv.adversary.discriminator import Discriminator
from sfv.system.memory import keep_memory
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial_losses import (
    CriticFeatures,
    NoiseDraw,
    discriminator_loss,
    generator_losses,
    judge,
)


def main(out: Path, rounds: int) -> None:
    keep_memory()
    how = StudentTraining(steps=1, clips=2)
    teacher = sfv.load("sticker-teacher")
    G, own = sfv.load("sticker").denoiser.train().requires_grad_(True), teacher.defaults
    shape, size = teacher.codec.latent_shape(own.frames, own.height, own.width), (own.height, own.width)
    torch.manual_seed(0)
    with torch.no_grad():
        cond = teacher.conditioner(torch.rand(2, 3, *size) * 2 - 1, fps=own.fps)
    D = Discriminator(teacher.denoiser, cond["image_embeds"].shape[-1], how.head_width)
    x0, n, n_d = torch.randn(3, 2, *shape)
    draw = NoiseDraw(torch.full((2,), teacher.sigma_max), n, torch.tensor([0.2, 0.6]), n_d, n)
    params = {"G": G.learnable(), "D": list(D.heads.parameters())}

    def heads(seen: CriticFeatures) -> None:
        loss, _ = discriminator_loss(D, seen, cond, draw, how)
        torch.autograd.grad(loss, params["D"])

    def generator(seen: CriticFeatures) -> None:
        *losses, _ = generator_losses(D, seen, x0, cond, draw, how)
        at = sum(torch.autograd.grad(v, seen.x0_hat)[0] for v in losses)
        torch.autograd.grad(seen.x0_hat, params["G"], at, allow_unused=True)

    def forward() -> CriticFeatures:
        with torch.autocast("cpu", torch.bfloat16):
            return judge(G, D, x0, cond, draw)

    def shared() -> None:
        seen = forward()
        heads(seen)
        generator(seen)

    def naive() -> None:
        with torch.no_grad():
            seen = forward()
        heads(seen)
        generator(forward())

    pixels = torch.rand(2, own.frames, 3, *size) * 2 - 1

    def naive_with_codec() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            teacher.codec.encode(pixels)
        naive()

    ways = {"shared": shared, "naive": naive, "naive and codec": naive_with_codec}
    taken: dict[str, list[float]] = {k: [] for k in ways}
    for _ in range(rounds + 2):
        for name, step in ways.items():
            start = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start)
    taken = {k: v[2:] for k, v in taken.items()}
    result = {
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "seconds": {k: statistics.median(v) for k, v in taken.items()},
        "times": {
            k: statistics.median(a / b for a, b in zip(v, taken["shared"], strict=True)) for k, v in taken.items()
        },
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7)
