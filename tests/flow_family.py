"""A third family, as small as one can be: a flow network of two convolutions over squares of pixels, in one file.

What a family needs is in here: a denoiser with its row of coefficients and a tap, a codec, a conditioner, and a module
of functions (this one) that opens and writes a folder; what it has nothing of its own for comes from families/plain.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser
from sfv.edm.preconditioning import Coefficients, rectified_flow
from sfv.families.base import Codec, Conditioner, VideoModel
from sfv.families.plain import *  # noqa: F403
from sfv.settings import Defaults
from sfv.types import Cond

PIPELINE = "ToyFlowPipeline"


class Flow(Denoiser):
    """Velocity from noised latents and the picture's, frame by frame, with one tap."""

    feature_channels, embed_width = (16,), 3

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(24, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return rectified_flow(sigma)

    def encode(self, x_in: Tensor, c_noise: Tensor, cond: Cond) -> list[Tensor]:
        both = torch.cat([x_in, cond["first"].expand_as(x_in)], 2).to(self.dtype)
        return [F.silu(self.enter(both.flatten(0, 1))).unflatten(0, x_in.shape[:2])]

    def network(self, x_in: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        out: Tensor = self.leave(self.encode(x_in, c_noise, cond)[0].flatten(0, 1))
        return out.unflatten(0, x_in.shape[:2])

    def embedding(self, cond: Cond) -> Tensor:
        return cond["colour"].float()[:, 0]


class Squares(Codec):
    """A pixel's square of four as twelve channels: latents of half the size, without loss."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def encode(self, pixels: Tensor) -> Tensor:
        return F.pixel_unshuffle(pixels * self.scale, 2)

    def decode(self, latents: Tensor, chunk: int | None = None, picture: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(latents / self.scale, 2)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return frames, 12, height // 2, width // 2


class FirstFrame(Conditioner):
    """The picture's latents and its mean colour; no knobs."""

    def embed(self, picture: Tensor) -> Tensor:
        return picture.mean((2, 3))[:, None]

    def picture_tower(self) -> nn.Module:
        return nn.Identity()

    def forward(self, picture: Tensor, **knobs: Any) -> Cond:
        return {"first": F.pixel_unshuffle(picture, 2)[:, None], "colour": self.embed(picture)}

    def from_encoded(self, pictures: Tensor, *unused: Tensor) -> Cond:
        return self(pictures)  # type: ignore[no-any-return]

    def with_knobs(self, cond: Cond, **knobs: Any) -> Cond:
        return cond

    def around(self, codec: Codec) -> "FirstFrame":
        return self

    def unconditional(self, cond: Cond) -> Cond:
        return {k: torch.zeros_like(v) for k, v in cond.items()}


def load(folder: Path, unet: str, dtype: torch.dtype, name: str) -> VideoModel:
    model = fresh()
    model.denoiser.load_state_dict(load_file(folder / unet / "weights.safetensors"))
    model.denoiser.to(dtype).eval().requires_grad_(False)
    defaults = Defaults.model_validate_json((folder / unet / "sfv.json").read_text())
    return replace(model, name=name, hash=weights_hash(folder, unet), defaults=defaults)


def weights_hash(folder: Path, unet: str) -> str:
    return f"{abs(hash((folder / unet / 'weights.safetensors').read_bytes())):016x}"[:16]


def save(model: VideoModel, folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
    save_denoiser(model, folder, unet, dtype)
    (folder / "model_index.json").write_text(f'{{"_class_name": "{PIPELINE}"}}')


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    (folder / unet).mkdir(parents=True, exist_ok=True)
    save_file(model.denoiser.state_dict(), folder / unet / "weights.safetensors")
    (folder / unet / "sfv.json").write_text(model.defaults.model_dump_json())


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    save(load(folder, "unet", dtype, str(folder)), out)


def fresh() -> VideoModel:
    torch.manual_seed(0)
    own = Defaults(frames=4, height=32, width=32, fps=10, steps=25, guidance=1)
    parts: dict[str, Any] = {"denoiser": Flow(), "codec": Squares(), "conditioner": FirstFrame()}
    return VideoModel("new", "flow", **parts, sigma_min=0.02, sigma_max=50.0, rho=7.0, defaults=own, hash="")
