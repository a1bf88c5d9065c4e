"""A third family, as small as one can be: a flow network of two convolutions over squares of pixels, in one folder.

What a family needs is in here: a denoiser with its row of coefficients and taps, a codec, a conditioner, and a module
of functions (this one) that opens and writes a folder; what it has nothing of its own for comes from families/plain.py.
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser
from sfv.edm.preconditioning import Coefficients, rectified_flow
from sfv.families.base import Codec, Conditioner, VideoModel
from sfv.families.plain import (
    NOTICE,
    export_lora,
    export_single,
    for_gpu,
    graphs,
    open_stock,
    rewritten,
    shapes,
    sized,
    staged,
    staged_pictures,
)
from sfv.settings import Defaults
from sfv.types import Cond, Features, Latents

__all__ = ["NOTICE", "export_lora", "export_single", "for_gpu", "graphs", "open_stock", "rewritten", "shapes"]
__all__ += ["sized", "staged", "staged_pictures"]
PIPELINE = "ToyFlowPipeline"


class Flow(Denoiser):
    """Velocity from noised latents and the picture's, frame by frame, with one tap."""

    feature_channels = (16,)
    embed_width = 3

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(24, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)
        self.level = nn.Linear(1, 16)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return rectified_flow(sigma)

    def encode(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> list[Features]:
        both = torch.cat([x_in, cond["first"][:, None].expand_as(x_in)], 2).to(self.dtype)
        level = self.level(c_noise[:, None].to(self.dtype) / 1000).repeat_interleave(x_in.shape[1], 0)
        return [F.silu(self.enter(both.flatten(0, 1)) + level[:, :, None, None]).unflatten(0, x_in.shape[:2])]

    def network(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> Latents:
        out: Tensor = self.leave(self.encode(x_in, c_noise, cond)[0].flatten(0, 1))
        return out.unflatten(0, x_in.shape[:2])

    def embedding(self, cond: Cond) -> Tensor:
        return cond["colour"].float()[:, 0]


class Squares(Codec):
    """A pixel's square of four as twelve channels: latents of half the size, without loss."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def encode(self, pixels: Tensor) -> Latents:
        return F.pixel_unshuffle(pixels.flatten(0, 1) * self.scale, 2).unflatten(0, pixels.shape[:2])

    def decode(self, latents: Latents, chunk: int | None = None, picture: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(latents.flatten(0, 1) / self.scale, 2).unflatten(0, latents.shape[:2])

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return frames, 12, height // 2, width // 2


class FirstFrame(Conditioner):
    """The picture's latents and its mean colour; no knobs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Linear(3, 3)

    def embed(self, picture: Tensor) -> Tensor:
        return self.tower(picture.mean((2, 3)))[:, None]  # type: ignore[no-any-return]

    def picture_tower(self) -> nn.Module:
        return self.tower

    def forward(self, picture: Tensor, **knobs: Any) -> Cond:
        return {"first": F.pixel_unshuffle(picture, 2), "colour": self.embed(picture)}

    def from_encoded(self, pictures: Tensor, embeds: Tensor, *unused: Tensor) -> Cond:
        return {"first": F.pixel_unshuffle(pictures, 2), "colour": embeds}

    def with_knobs(self, cond: Cond, **knobs: Any) -> Cond:
        return cond

    def around(self, codec: Codec) -> "FirstFrame":
        return self

    def unconditional(self, cond: Cond) -> Cond:
        return {k: torch.zeros_like(v) for k, v in cond.items()}


def load(folder: Path, unet: str, dtype: torch.dtype, name: str) -> VideoModel:
    parts = {"denoiser": Flow(), "codec": Squares(), "conditioner": FirstFrame()}
    for key, part in parts.items():
        part.load_state_dict(load_file(_file(folder, unet, key)))
        part.to(dtype).eval().requires_grad_(False)
    defaults = Defaults(**json.loads((folder / unet / "sfv.json").read_text()))
    levels: dict[str, Any] = {"sigma_min": 0.02, "sigma_max": 50.0, "rho": 7.0, "hash": weights_hash(folder, unet)}
    return VideoModel(name=name, family="flow", defaults=defaults, **parts, **levels)  # type: ignore[arg-type]


def weights_hash(folder: Path, unet: str) -> str:
    return f"{abs(hash(_file(folder, unet, 'denoiser').read_bytes())):016x}"[:16]


def save(model: VideoModel, folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
    save_denoiser(model, folder, unet, dtype)
    for key in ("codec", "conditioner"):
        save_file(getattr(model, key).state_dict(), _file(folder, unet, key))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": PIPELINE}))


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    (folder / unet).mkdir(parents=True, exist_ok=True)
    save_file(model.denoiser.state_dict(), _file(folder, unet, "denoiser"))
    (folder / unet / "sfv.json").write_text(model.defaults.model_dump_json())


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    save(load(folder, "unet", dtype, str(folder)), out)


def _file(folder: Path, unet: str, part: str) -> Path:
    return folder / unet / "weights.safetensors" if part == "denoiser" else folder / f"{part}.safetensors"


def fresh() -> VideoModel:
    torch.manual_seed(0)
    own = Defaults(frames=4, height=32, width=32, fps=10, steps=25, guidance=1)
    parts: dict[str, Any] = {"denoiser": Flow(), "codec": Squares(), "conditioner": FirstFrame()}
    return VideoModel("new", "flow", **parts, sigma_min=0.02, sigma_max=50.0, rho=7.0, defaults=own, hash="")
