"""Does a model of whole loops use the picture? Errors of one answer with the right picture, another one, and none.

    python runs/quality/picture_use.py STORE MODEL OUT.json [--unet teacher] [--clips 24]

One loop of each of the first CLIPS validation families, over white, noised to each level with fixed noise. Figures are
mean squared errors as a share of the still's (whose latents are zero): 1 says that nothing is known.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sfv.data.loops import DrawnLoop, over, white
from sfv.data.stickers import ClipStore, by_family
from sfv.edm.noise import add_noise
from sfv.families.motion import folder as motion_folder
from sfv.media import replacing

SIGMAS = (100.0, 20.0, 5.0, 2.0, 0.7)
MOTION = 150.0
AT_ONCE = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--unet", default="teacher")
    parser.add_argument("--clips", type=int, default=24)
    asked = parser.parse_args()
    store, model = ClipStore(asked.store), motion_folder.load(asked.model, asked.unet, torch.float32, str(asked.model))
    loops = [DrawnLoop(store, family[0]) for family in by_family(store.split("val"))][: asked.clips]
    frames, size = model.defaults.frames, model.defaults.height
    times = torch.arange(frames) / frames
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        pixels = torch.stack([over(loop.frames(times), white(size)) for loop in loops]) * 2 - 1
        x0 = torch.cat([model.codec.encode(p[None]) for p in pixels]).float()
        fps = torch.tensor([frames / loop.seconds for loop in loops])
        pictures = {"own": pixels[:, 0], "another": pixels[:, 0].roll(7, 0)}
        conds = {k: model.conditioner(p, fps=fps, motion=MOTION) for k, p in pictures.items()}
        conds["none"] = model.conditioner.unconditional(conds["own"])
        n = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))

        def error(sigma: float, cond: dict[str, Tensor]) -> float:
            answers = []
            for at in torch.arange(len(x0)).split(AT_ONCE):
                level = torch.full((len(at),), sigma)
                x = add_noise(x0[at], level, n[at])
                answers.append(model.denoiser(x, level, {k: v[at] for k, v in cond.items()}).float())
            return float((torch.cat(answers) - x0).square().mean() / x0.square().mean())

        found = {f"sigma {sigma:g}": {k: round(error(sigma, c), 3) for k, c in conds.items()} for sigma in tqdm(SIGMAS)}
    result = {"model": model.hash, "clips": len(loops), "motion": MOTION, **found}
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
