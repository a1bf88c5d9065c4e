"""A pack as runs/recipes/sticker_gpu_pack.py writes it, but for its clips: two of noise, one still, LPIPS of the right
shapes; and a tiny model of whole loops to begin from."""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model

COUNTS = (6, 9)


def write_pack(folder: Path) -> None:
    """Clips are called c6 and c9, by their frames; the model is in `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = [{"id": f"c{n}", "family": f"f{n}", "frames": n} for n in COUNTS]
    for name in ("clips.json", "held.json"):
        (folder / name).write_text(json.dumps(rows))
    with zipfile.ZipFile(folder / "stills.zip", "w") as archive, archive.open("a.png", "w") as file:
        Image.fromarray(rng.integers(0, 256, (256, 256, 4), dtype=np.uint8), "RGBA").save(file, "png")
    widths = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
    weights = {f"conv{i}.weight": 0.01 * torch.randn(o, c, k, k) for i, (o, c, k) in enumerate(widths)}
    weights |= {f"conv{i}.bias": torch.zeros(o) for i, (o, _, _) in enumerate(widths)}
    weights |= {f"lin{i}.weight": torch.rand(1, o, 1, 1) for i, (o, _, _) in enumerate(widths)}
    save_file(weights, folder / "lpips_alexnet.safetensors")
    motion_folder.save(new_motion_model(TINY_MOTION, 0), folder / "start", "teacher")
