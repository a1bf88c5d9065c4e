"""Models whose latents hold what changes: SVD's UNet over the motion codec's latents; a tower describes the picture.

The denoiser is SVD's own class (families/svd/networks.py): the tower's features stand where SVD's raw picture latents
stand, and its token where CLIP's does. Clips are whole loops; the first frame is the picture, so its latents are zero.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sfv.decoding.decoder import Decoded
from sfv.errors import SfvError
from sfv.families.base import Codec, Conditioner, MovingCodec, VideoModel
from sfv.families.motion.codec import STRIDE, MotionCodecConfig, MotionNetworks, Pyramid, conv, quick_layout
from sfv.families.svd.networks import SVDDenoiser, computing_in
from sfv.families.svd.sizes import small_unet
from sfv.families.svd.unet import UNet
from sfv.settings import Defaults
from sfv.types import AnyFirst, AnyPixels, Cond, Latents, RgbaPicture, RgbaPixels, Softness


def rgba(pixels: Tensor) -> Tensor:
    """RGB (..., 3, h, w) as opaque RGBA (..., 4, h, w); RGBA as it is."""
    return pixels if pixels.shape[-3] == 4 else torch.cat([pixels, torch.ones_like(pixels[..., :1, :, :])], -3)


class MotionCodec(MovingCodec):
    """The networks of families/motion/codec.py as a codec: the first frame of what is encoded is the picture."""

    channels = 4

    def __init__(self, networks: MotionNetworks) -> None:
        super().__init__()
        self.networks = quick_layout(networks)
        self.runs: list[Callable[[Latents, RgbaPicture, Softness], Tensor]] = []
        """What runs `Packed` instead, for generation; in a list, or its weights would be listed twice."""
        self.narrow: dict[torch.dtype, MotionNetworks] = {}
        """The networks in another precision, cast once; for generation, as the weights are when first asked for."""

    def encode(self, pixels: AnyPixels) -> Latents:
        """Zero for the first frame; of unit spread."""
        whole = rgba(pixels.to(self.networks.std.dtype))
        with computing_in(self.encode_dtype, self):
            return self.networks.encode(whole, whole[:, 0]).float()

    def decode(self, latents: Latents, chunk: int | None = None, picture: AnyFirst | None = None) -> RgbaPixels:
        """Frames, each from its own latents and the picture, so that `chunk` changes nothing."""
        if picture is None:
            raise SfvError("these latents hold what changes in a picture: give the picture to decode them")
        pairs = zip(latents.split(1), picture.split(1), strict=True)
        return torch.cat([self.draw(z, p).frames for z, p in pairs])

    def draw(self, latents: Latents, picture: AnyFirst, softness: Softness | None = None) -> Decoded:
        """Frames, and what they are made of."""
        z, first = latents.to(self.dtype), rgba(picture.to(self.dtype))
        soft = torch.zeros(len(z), device=z.device) if softness is None else softness.to(z.device)
        if self.runs:
            with computing_in(self.decode_dtype, self):
                return unpacked(self.runs[0](z, first, soft)).wide()
        return self._cast().draw(z, first, soft).wide()

    def _cast(self) -> MotionNetworks:
        """The networks as they compute."""
        dtype = self.decode_dtype
        if dtype is None or dtype == self.dtype:
            return self.networks
        if dtype not in self.narrow or self.narrow[dtype].std.device != self.device:
            narrowed = copy.deepcopy(self.networks).requires_grad_(False)
            narrowed.decoder.to(dtype)
            self.narrow[dtype] = quick_layout(narrowed)
        return self.narrow[dtype]

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        """The network from frame and picture to latents."""
        return self.networks.encoder

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.networks.std.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.networks.std.device

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(f, c, h, w)."""
        if height % STRIDE or width % STRIDE:
            raise SfvError(f"height and width must be multiples of {STRIDE}, not {height}x{width}")
        return frames, self.networks.config.latent_channels, height // STRIDE, width // STRIDE


class Packed(nn.Module):
    """A codec's decoder as a function from tensors to one tensor: what compilers and exporters take."""

    def __init__(self, codec: MotionCodec) -> None:
        super().__init__()
        self.networks, self.compute = codec.networks, codec.decode_dtype

    def forward(self, latents: Latents, pictures: RgbaPicture, softness: Softness) -> Tensor:
        """(b, f, c, y, x), (b, 4, h, w), (b,) -> (b, f, 7, h, w): RGBA, the mask, and the flow in pixels."""
        drawn = self.networks.draw(latents, pictures, softness)
        assert drawn.flow is not None and drawn.trust is not None
        return torch.cat([drawn.frames, drawn.trust, drawn.flow], 2)


def unpacked(packed: Tensor) -> Decoded:
    """The parts of what `Packed` gives."""
    return Decoded(packed[:, :, :4], trust=packed[:, :, 4:5], flow=packed[:, :, 5:])


class TowerConfig(BaseModel):
    """Sizes of the network that describes the picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, int, int] = (128, 96, 64)
    """Channels of the picture's features from the coarsest on, as the codec's decoder has them."""
    channels: int = Field(default=96, gt=0)
    """Of the map beside the latents."""
    token: int = Field(default=64, gt=0)
    """Of the one token for cross-attention."""


class PictureTower(nn.Module):
    """A picture -> a map of the latents' size and a token. Begun as the codec's own pyramid."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        coarse, middle, _ = config.widths
        self.pyramid = Pyramid(config.widths)
        self.norm = nn.GroupNorm(8, coarse + 4 * middle)
        """The map has a size of its own, however small the features."""
        self.mix = conv(coarse + 4 * middle, config.channels, 1)
        self.token = nn.Linear(2 * coarse, config.token)

    def forward(self, picture: RgbaPicture) -> tuple[Tensor, Tensor]:
        """(b, 4, h, w) -> (b, channels, h / 16, w / 16), (b, token)."""
        coarse, middle, _ = self.pyramid(picture)
        seen = self.mix(self.norm(torch.cat([coarse, F.pixel_unshuffle(middle, 2)], 1)))
        token: Tensor = self.token(torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3))], 1))
        return seen, token

    def begin_as(self, pyramid: Pyramid) -> None:
        """Take over a codec's picture features."""
        self.pyramid.load_state_dict(pyramid.state_dict())


class MotionConditioner(Conditioner):
    """Picture -> map and token of the tower, and ids: fps - 1, motion, program (data/loops.py; 0 for drawn clips)."""

    def __init__(self, tower: PictureTower) -> None:
        super().__init__()
        self.tower = quick_layout(tower)

    def embed(self, picture: AnyFirst) -> Tensor:
        """(b, 1, token)."""
        return self._seen(picture)[1][:, None]

    def _seen(self, picture: AnyFirst) -> tuple[Tensor, Tensor]:
        features, token = self.tower(rgba(picture.to(self.tower.token.weight.dtype)))
        return features.float(), token.float()

    def picture_tower(self) -> nn.Module:
        """The one network."""
        return self.tower

    def forward(self, picture: AnyFirst, **knobs: Any) -> Cond:
        """Knobs: fps (8), motion (127), program (0), each one number or (b,); SVD's noise_aug and noise are unused."""
        ids = self._ids(len(picture), picture.device, knobs)
        features, token = self._seen(picture)
        return {"image_latents": features, "image_embeds": token[:, None], "added_time_ids": ids}

    def with_knobs(self, cond: Cond, **knobs: Any) -> Cond:
        """Other ids."""
        ids = cond["added_time_ids"]
        return cond | {"added_time_ids": self._ids(len(ids), ids.device, knobs)}

    def _ids(self, b: int, device: torch.device, knobs: dict[str, Any]) -> Tensor:
        known = {"fps": 8, "motion": 127, "program": 0, "noise_aug": 0.0, "noise": None}
        if unknown := sorted(set(knobs) - set(known)):
            raise SfvError(f"unknown knob {unknown[0]!r} for a model of whole loops; it knows {sorted(known)}")
        v = known | knobs
        numbers = [torch.as_tensor(v[k], dtype=torch.float32).expand(b) for k in ("fps", "motion", "program")]
        return torch.stack([numbers[0] - 1, *numbers[1:]], 1).to(device)

    def around(self, codec: Codec) -> "MotionConditioner":
        """Itself: its tower does not use the codec."""
        return self

    def guidance_over_frames(self, guidance: float, frames: int) -> Tensor:
        """The same at every frame: a round has no later ones."""
        return torch.full((frames,), guidance)

    def unconditional(self, cond: Cond) -> Cond:
        """Zero map, zero token, the same ids."""
        return cond | {k: torch.zeros_like(cond[k]) for k in ("image_latents", "image_embeds")}


class MotionSizes(BaseModel):
    """Sizes of a whole model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: MotionCodecConfig = MotionCodecConfig()
    tower: TowerConfig = TowerConfig()
    unet: tuple[int, ...] = (64, 96, 128)
    head: int = 32
    """Channels of an attention head."""
    time_embed: int = 64
    """Channels of each id."""
    size: int = 128
    frames: int = 24
    fps: float = 8
    sigma_min: float = 0.02
    sigma_max: float = 100.0


TINY_MOTION = MotionSizes(
    codec=MotionCodecConfig(
        latent_channels=4,
        encoder_widths=(8, 8, 8),
        encoder_depth=(1, 1, 1),
        widths=(16, 16, 8, 8),
        depth=(1, 1, 1, 1),
    ),
    tower=TowerConfig(widths=(16, 16, 8), channels=8, token=32),
    unet=(32, 64),
    time_embed=32,
    size=64,
    frames=4,
)
"""For tests."""


def new_unet(sizes: MotionSizes) -> UNet:
    """A fresh UNet of SVD's class; attention in every block but the deepest, as in SVD."""
    return UNet(
        small_unet(
            sizes.unet,
            sizes.head,
            sample_size=sizes.size // STRIDE,
            in_channels=sizes.codec.latent_channels + sizes.tower.channels,
            out_channels=sizes.codec.latent_channels,
            cross_attention_dim=sizes.tower.token,
            addition_time_embed_dim=sizes.time_embed,
            num_frames=sizes.frames,
        )
    )


def new_motion_model(sizes: MotionSizes, seed: int) -> VideoModel:
    """Every part fresh."""
    torch.manual_seed(seed)
    tower = PictureTower(sizes.tower)
    return VideoModel(
        name="new",
        family="motion",
        denoiser=SVDDenoiser(new_unet(sizes)),
        codec=MotionCodec(MotionNetworks(sizes.codec)),
        conditioner=MotionConditioner(tower),
        sigma_min=sizes.sigma_min,
        sigma_max=sizes.sigma_max,
        rho=7.0,
        defaults=Defaults(
            frames=sizes.frames, height=sizes.size, width=sizes.size, fps=sizes.fps, noise_aug=0, guidance=1.5
        ),
        hash="",
        loops=True,
    )
