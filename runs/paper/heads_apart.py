"""What each head of the discriminator can tell apart: real clips from stills, less motion, shuffled and torn ones.

    python runs/paper/heads_apart.py STORE MODEL OUT.json [--updates 200] [--clips 6] [--kinds stc]

MODEL is a folder of a model of whole loops with a teacher (sfv train teacher). Every head learns by itself, by hinge
loss, on pairs of a real clip's latents and the same latents with one fault, both noised alike as in training of a
student. Then it sees 96 new pairs: the figure is the share in which the real clip's mean logit is above the other's
(0.5 is a guess). Faults: still (the first frame throughout), half and calm (0.5 and 0.8 of the way from the first
frame), shuffled (frames in another order), torn and slipped (the lower half a quarter of a round, and one frame, late).
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sfv.adversary.discriminator import Discriminator
from sfv.adversary.losses import hinge_fake, hinge_real
from sfv.data.loops import LoopSource
from sfv.data.stickers import ClipStore
from sfv.edm.noise import add_noise, discrete, discretised_log_normal, karras_grid
from sfv.families.motion.folder import load
from sfv.media import replacing
from sfv.training.loop_batches import LoopBatches
from sfv.training.objectives.adversarial import difference_scale
from sfv.training.optimizers import Muon
from sfv.training.seeds import Rngs, Seeds

TEST, P_MEAN, P_STD = 96, -1.0, 1.0


def still(x: Tensor, order: Tensor) -> Tensor:
    return x[:, :1].expand_as(x)


def half(x: Tensor, order: Tensor, share: float = 0.5) -> Tensor:
    return x[:, :1] + share * (x - x[:, :1])


def calm(x: Tensor, order: Tensor) -> Tensor:
    return half(x, order, 0.8)


def shuffled(x: Tensor, order: Tensor) -> Tensor:
    return x[:, order]


def torn(x: Tensor, order: Tensor) -> Tensor:
    return late(x, x.shape[1] // 4)


def slipped(x: Tensor, order: Tensor) -> Tensor:
    return late(x, 1)


def late(x: Tensor, frames: int) -> Tensor:
    rows = x.shape[-2] // 2
    return torch.cat([x[..., :rows, :], x.roll(frames, 1)[..., rows:, :]], -2)


FAULTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    f.__name__: f for f in (still, half, calm, shuffled, torn, slipped)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--kinds", default="stc")
    asked = parser.parse_args()
    torch.manual_seed(0)
    model = load(asked.model, "teacher", torch.float32, str(asked.model))
    source = LoopSource(ClipStore(asked.store), 0.2)
    batches = LoopBatches(source, model.codec, model.conditioner, model.defaults.frames)  # type: ignore[arg-type]
    batches.keep_pool(asked.out.with_suffix(".pool"), 2000)
    batches.rank_motion(asked.out.with_suffix(".motion.json"))
    channels = model.codec.latent_shape(1, 512, 512)[1]
    judges = {name: Discriminator(model.denoiser, 96, asked.kinds, channels) for name in FAULTS}
    scale = difference_scale(batches)
    for D in judges.values():
        D.difference_scale.copy_(scale)
    muons = {name: Muon(D.heads.parameters(), 1e-3, 0.9, dtype=torch.float32) for name, D in judges.items()}
    grid = karras_grid(*model.noise_range[:2], 1000, model.noise_range.rho)
    weights = discretised_log_normal(grid, P_MEAN, P_STD)

    def logits(rngs: Rngs) -> Iterator[tuple[str, list[Tensor], list[Tensor]]]:
        """Of every fault: the heads' logits of real clips and of the same with it."""
        x0, cond = batches.draw(rngs)
        sigma, n = discrete(grid[1:], weights, rngs.uniform()), rngs.normal(*x0.shape[1:])
        order = torch.randperm(x0.shape[1], generator=rngs.shared)
        real: list[Tensor] | None = None
        for name, fault in FAULTS.items():
            D, x = judges[name], fault(x0, order)
            with torch.no_grad():
                real = real or D.features(add_noise(x0, sigma, n), sigma, cond, x0)  # the same for all
                faulty = D.features(add_noise(x, sigma, n), sigma, cond, x)
            yield name, D.logits(real, sigma, cond), D.logits(faulty, sigma, cond)

    for step in tqdm(range(asked.updates), unit="update"):
        for name, good, bad in logits(Seeds(0, step).clips(asked.clips)):
            (hinge_real(good) + hinge_fake(bad)).backward()
            muons[name].step()
            muons[name].zero_grad()
    right: dict[str, dict[str, float]] = {name: {} for name in FAULTS}
    with torch.no_grad():
        for i in tqdm(range(TEST // 4), unit="batch"):
            for name, good, bad in logits(Seeds(1, i).clips(4)):
                for head, r, f in zip(judges[name].heads, good, bad, strict=True):
                    won = float((r.mean(1) > f.mean(1)).float().sum()) / TEST
                    right[name][head] = right[name].get(head, 0.0) + won
    heads = {head: {name: round(right[name][head], 3) for name in FAULTS} for head in next(iter(right.values()))}
    result = {"model": model.hash, "updates": asked.updates, "clips": asked.clips, "pairs": TEST, "heads": heads}
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print("head   " + "".join(f"{name:>10}" for name in FAULTS))
    for head, row in heads.items():
        print(f"{head:7}" + "".join(f"{v:10.2f}" for v in row.values()))


if __name__ == "__main__":
    main()
