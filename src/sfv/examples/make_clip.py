"""A clip from a picture with what `sfv export sticker FOLDER --to onnx` wrote, without torch and without sfv.

    pip install numpy pillow onnxruntime
    python FOLDER/make_clip.py cat.png cat.webp [SEED]

It makes the network's 24 frames, as `sfv generate cat.png --transparent --size 128 --fit pad --play-fps 8 --stiff off
--move free` makes them of a picture that does not fill its frame.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent


def noise(seed: int, *shape: int) -> np.ndarray:
    """Unit Gaussian noise, torch.randn's for this seed: Mersenne Twister, then Box-Muller on every 16 numbers."""
    bits = np.random.MT19937()
    bits._legacy_seeding(seed % 2**32)
    uniform = (bits.random_raw(math.prod(shape)) % 2**24 / 2**24).reshape(-1, 2, 8)
    radius, angle = np.sqrt(-2 * np.log(1 - uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(shape).astype(np.float32)


def layers(path: str, height: int, width: int) -> np.ndarray:
    """A picture file -> (1, 4, height, width) in [-1, 1], colours multiplied with alpha."""
    fitted = ImageOps.pad(
        Image.open(path).convert("RGBA"), (width, height), Image.Resampling.LANCZOS, (255, 255, 255, 0)
    )
    rgba = np.asarray(fitted, np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    return (rgba * 2 - 1).transpose(2, 0, 1)[None]


def call(name: str, **inputs: np.ndarray) -> list[np.ndarray]:
    """One network's outputs."""
    session = onnxruntime.InferenceSession(str(HERE / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def clip(path: str, seed: int) -> np.ndarray:
    """A picture file -> frames (f, h, w, 4) uint8: one call of the UNet at the highest noise level."""
    facts = json.loads((HERE / "onnx.json").read_text())
    usual, sigma = facts["defaults"], np.float32(facts["noise"]["sigma_max"])
    scale = np.sqrt(sigma**2 + 1)
    picture = layers(path, usual["height"], usual["width"])
    seen, token = call("tower", picture=picture)
    n = noise(seed, 1, *facts["latents"])
    x = n * scale
    beside = np.broadcast_to(seen[:, None], (1, n.shape[1], *seen.shape[1:]))
    judged = (HERE / "stiffness.onnx").exists()
    more, softness = call("stiffness", picture=picture)[1:] if judged else np.zeros((2, 1), np.float32)
    motion = np.clip(usual["motion"] + more[0], 20, 235)  # such pictures move so much more than the usual one
    ids = np.array([[usual["fps"] - 1, motion, facts["programs"]["free"]]], np.float32)
    given = {"timestep": np.log(sigma)[None] / 4, "encoder_hidden_states": token, "added_time_ids": ids}
    (out,) = call("unet", sample=np.concatenate([x / scale, beside], 2), **given)
    x0 = x / scale**2 - sigma / scale * out
    x0[:, 0] = 0  # the first frame is the picture
    frames = call("decoder", latents=x0, picture=picture, softness=softness)[0]
    frames = frames.clip(-1, 1).transpose(0, 2, 3, 1) / 2 + 0.5
    frames[..., :3] /= frames[..., 3:].clip(1 / 255)
    return (frames.clip(0, 1) * 255).round().astype(np.uint8)


if __name__ == "__main__":
    made = [Image.fromarray(f) for f in clip(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 0)]
    made[0].save(sys.argv[2], save_all=True, append_images=made[1:], duration=125, loop=0, lossless=True, exact=True)
