"""A codec whose latents hold only what changes: every frame is encoded beside the picture, and decoded from it.

The encoder sees a frame and the picture; what it says of the picture itself is taken away, so a still clip is zero. The
decoder moves the picture by a flow (found from coarse to fine), draws the rest, and a mask says how much of each.
Ideas: Reducio-VAE (2411.13552), CMD (2403.14148), LaMD (2304.11603).
Flow, mask and drawn rest are those of FOMM (2003.00196).

Pixels are RGBA in [-1, 1], colours multiplied with alpha: what is transparent is moved and drawn as colour is.
"""

from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sfv.decoding.decoder import Decoded
from sfv.decoding.rigid_flow import calmer, locally_affine, texture
from sfv.decoding.warping import Flow, Maps, finer, moved, warped
from sfv.types import Latents, RawLatents, RgbaPicture, RgbaPixels, Softness

M = TypeVar("M", bound=nn.Module)
RGBA = 4
TRUST = 1.0
"""Logit of a fresh mask: the moved picture is trusted by three quarters."""


class MotionCodecConfig(BaseModel):
    """Sizes of both networks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_channels: int = Field(default=16, gt=0, le=64)
    """Numbers at each position of a frame; a position is 16 x 16 pixels."""
    encoder_widths: tuple[int, int, int] = (64, 128, 160)
    """Channels at 1/4, 1/8 and 1/16 of the picture's sides."""
    encoder_depth: tuple[int, int, int] = (1, 2, 3)
    """Residual blocks there."""
    widths: tuple[int, int, int, int] = (128, 96, 64, 32)
    """Channels of the decoder at 1/16, 1/8, 1/4 and 1/2 of the picture's sides."""
    depth: tuple[int, int, int, int] = (2, 2, 2, 2)
    """Residual blocks there."""
    picture_widths: tuple[int, int, int] | None = None
    """Channels of the picture's own features at 1/16, 1/8 and 1/4; None: those of `widths`."""
    window: float = Field(default=0.0, ge=0, le=64)
    """Pixels across which things move in one piece (decoding/rigid_flow.py), for generation; 0: the flow is free."""
    bends: float = Field(default=1.0, gt=0)
    """Pixels that the flow must bend away from its pieces to be believed: smaller bends are mostly errors."""
    strain: float = Field(default=0.0, ge=0)
    """With a window, for generation: where pieces are strained by more than that (Green's strain), they go with wider
    ones around them, and are squeezed less; 0: nowhere."""
    strain_of_soft: float = Field(default=0.0, ge=0)
    """The same for what surely bends (`softness` 1, and in between by it); 0: as `strain`."""
    trust_bias: float = Field(default=0.0, ge=-10, le=10)
    """Added to the mask's logit, for generation: above 0 more is moved and less is drawn."""
    draws: bool = True
    """Off, for generation: the picture is moved and nothing is drawn, which is 40 % less work."""


STRIDE = 16
"""Pixels per latent, along one side."""


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, zero: bool = False) -> nn.Conv2d:
    """A convolution that keeps (or divides by its stride) the size of its input; `zero`: it starts at zero."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2)
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))); starts as x. No norms: they would remove a frame's own mean and contrast."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width, zero=True)

    def forward(self, x: Maps) -> Maps:
        """The same shape."""
        spare = not torch.is_grad_enabled()
        u = self.second(F.relu(self.first(F.relu(x)), inplace=spare))
        return u.add_(x) if spare and u.dtype == x.dtype else x + u


def blocks(width: int, depth: int) -> nn.Sequential:
    """`depth` residual blocks."""
    return nn.Sequential(*(Residual(width) for _ in range(depth)))


def channels_last(maps: Maps) -> Maps:
    """The memory layout that convolutions are quick in; exporters keep their own and do not know the step."""
    return maps if torch.compiler.is_exporting() else maps.contiguous(memory_format=torch.channels_last)


def quick_layout(network: M) -> M:
    """The same network with its convolutions' weights channels-last, in place."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def twice_as_fine(layer: nn.Module, maps: Maps) -> Maps:
    """What a 3 x 3 convolution says of maps enlarged twice by repetition, (n, c, y, x) -> (n, 4 d, y, x) before
    `pixel_shuffle`: each of its four places sees at most 2 x 2 different positions, so nothing is enlarged. With a
    gradient, unlike the upsampling of rewrites."""
    even, odd = [[1.0, 0, 0], [0, 1, 1], [0, 0, 0]], [[0.0, 0, 0], [1, 1, 0], [0, 0, 1]]
    seen = torch.tensor([even, odd], device=maps.device)
    assert isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor)
    weight = torch.einsum("piy,qjx,dcyx->dpqcij", seen, seen, layer.weight.float()).flatten(0, 2).to(maps.dtype)
    return F.conv2d(maps, weight, layer.bias.to(maps.dtype).repeat_interleave(4), padding=1)


class MotionEncoder(nn.Module):
    """Frame and picture -> what has changed."""

    def __init__(self, config: MotionCodecConfig) -> None:
        super().__init__()
        widths = config.encoder_widths
        self.entry = conv(2 * RGBA * 16, widths[0])
        self.down = nn.ModuleList(conv(a, b, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.levels = nn.ModuleList(blocks(w, d) for w, d in zip(widths, config.encoder_depth, strict=True))
        self.exit = conv(widths[-1], config.latent_channels)

    def forward(self, frames: Maps, pictures: Maps) -> Maps:
        """(n, 4, h, w) twice -> (n, c, h / 16, w / 16)."""
        h = self.entry(channels_last(F.pixel_unshuffle(torch.cat([frames, pictures], 1), 4)))
        for i, level in enumerate(self.levels):
            h = level(h if i == 0 else self.down[i - 1](F.relu(h)))
        return self.exit(F.relu(h))


def leaky(maps: Maps) -> Maps:
    """Leaky ReLU: a channel that is below zero everywhere still has a gradient. With ReLU nearly all channels of a
    pyramid died in training, and nothing after it knew the picture (LOG.md)."""
    return F.leaky_relu(maps, 0.1)


class Pyramid(nn.Module):
    """A picture's features at 1/4, 1/8 and 1/16 of its sides; from the coarsest on."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        """`widths` from the coarsest on."""
        super().__init__()
        fine = widths[::-1]
        self.entry = conv(RGBA * 16, fine[0])
        self.down = nn.ModuleList(conv(a, b, stride=2) for a, b in zip(fine, fine[1:], strict=False))
        self.levels = nn.ModuleList(Residual(w) for w in fine)

    def forward(self, pictures: Maps) -> list[Maps]:
        """(b, 4, h, w) -> maps."""
        maps = [self.levels[0](self.entry(channels_last(F.pixel_unshuffle(pictures, 4))))]
        for down, level in zip(self.down, self.levels[1:], strict=True):
            maps.append(level(down(leaky(maps[-1]))))
        return [leaky(m) for m in maps[::-1]]


class Learning(NamedTuple):
    """What was drawn everywhere (b * f, 4, h, w), before the mask, the flow after each level (b * f, 2, y, x), and the
    picture's features (b, c, y, x)."""

    drawn: Maps
    flows: list[Flow]
    features: list[Maps]


class MotionDecoder(nn.Module):
    """Picture and what changes -> flow, mask and drawn rest, put together."""

    def __init__(self, config: MotionCodecConfig) -> None:
        super().__init__()
        widths, self.window, self.bends = config.widths, config.window, config.bends
        self.trust_bias, self.draws = config.trust_bias, config.draws
        self.strain, self.strain_of_soft = config.strain, config.strain_of_soft or config.strain
        *coarse, fine = widths
        pictures = config.picture_widths or tuple(coarse)
        self.pyramid = Pyramid(pictures)
        self.entry = conv(config.latent_channels, widths[0])
        self.join = nn.ModuleList(conv(p, w, 1) for p, w in zip(pictures, coarse, strict=True))
        """The picture's features, mixed before they are moved: that is the same and is done once a clip."""
        self.see = nn.ModuleList(conv(2, w) for w in coarse[1:])
        """The flow so far."""
        self.narrow = nn.ModuleList(conv(a, b, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.levels = nn.ModuleList(blocks(w, d) for w, d in zip(widths, config.depth, strict=True))
        self.flow = nn.ModuleList(conv(w, 2, zero=True) for w in widths)
        self.look = conv(RGBA * 4, fine)
        """The moved picture, before what is drawn and where is decided."""
        self.exit = conv(fine, RGBA * 4 + 4)
        with torch.no_grad():
            self.exit.weight[RGBA * 4 :] = 0
            self.exit.bias[RGBA * 4 :] = TRUST  # type: ignore[index]

    def idle(self) -> list[nn.Module]:
        """The parts that frames do not depend on: without drawing those that draw."""
        return [] if self.draws else [self.levels[-1], self.look, self.exit]

    def forward(self, z: Latents, pictures: RgbaPicture, softness: Softness | None = None) -> tuple[Decoded, Learning]:
        """Frames with what they are made of (b, f, ...), and what training looks at besides."""
        b, features = len(z), self.pyramid(pictures.to(self.entry.weight.dtype))
        h, flows = self._followed_from_rest(z, features) if self.window else self._followed(z, features)
        whole = finer(self._whole(flows[-1], pictures, softness))
        there = moved(pictures, whole)
        drawn, trust = self._drawn(self._fine(h), there) if self.draws else (there, torch.ones_like(there[:, :1]))
        frames = drawn + trust * (there - drawn) if self.draws else there
        parts = (frames, there, trust, whole)
        return Decoded(*(v.unflatten(0, (b, -1)) for v in parts)), Learning(drawn, flows, features)

    def _followed_from_rest(self, z: Latents, features: list[Maps]) -> tuple[Maps, list[Flow]]:
        """The same, the last flow less what latents of nothing give, so that what does not change is the picture."""
        b, f = z.shape[:2]
        maps, flows = self._followed(torch.cat([z, torch.zeros_like(z[:, :1])], 1), features)
        h, last = (v.unflatten(0, (b, f + 1)) for v in (maps, flows[-1]))
        return h[:, :-1].flatten(0, 1), [*flows[:-1], (last[:, :-1] - last[:, -1:]).flatten(0, 1)]

    def _followed(self, z: Latents, features: list[Maps]) -> tuple[Maps, list[Flow]]:
        """From coarse to fine: maps at a quarter of the picture's sides, and the flow after each size."""
        h, flows = self.entry(channels_last(z.flatten(0, 1).to(self.entry.weight.dtype))), list[Flow]()
        for i, level in enumerate(self.levels[:-1]):
            h = level(self._joined(i, h, features, flows))
            flows.append(self._more(i, h, flows))
        h = self.narrow[-1](h)
        more = F.pixel_shuffle(twice_as_fine(self.flow[-1], F.relu(h)).float(), 2)
        return h, [*flows, finer(flows[-1]) + more]

    def _fine(self, h: Maps) -> Maps:
        """The maps that drawing begins with, at half the picture's sides."""
        return F.interpolate(h, scale_factor=2)

    def _drawn(self, h: Maps, there: Maps) -> tuple[Maps, Maps]:
        """What is drawn everywhere (n, 4, h, w), and how much the moved picture is trusted (n, 1, h, w)."""
        h = self.levels[-1](h + self.look(channels_last(F.pixel_unshuffle(there.to(h.dtype), 2))))
        drawn, trust = self.exit(F.relu(h)).split([RGBA * 4, 4], 1)
        drawn, trust = (F.pixel_shuffle(v, 2).float() for v in (drawn, trust))
        return drawn, (trust + self.trust_bias).sigmoid()

    def _whole(self, flow: Flow, pictures: RgbaPicture, softness: Softness | None = None) -> Flow:
        """The flow; with a window, its locally affine fit (weighted by where the picture shows anything to follow) and
        what bends away from that by more than a little."""
        if not self.window:
            return flow
        size = flow.shape[3] / pictures.shape[3]
        seen = texture(pictures[:, :3], *flow.shape[2:])
        fitted = locally_affine(flow, seen, self.window * size)
        rest = flow - fitted
        far = rest.square().sum(1, keepdim=True)
        whole = fitted + rest * (far / (far + (self.bends * size) ** 2))
        return calmer(whole, seen, self.window * size, self._limit(softness, flow)) if self.strain else whole

    def _limit(self, softness: Softness | None, flow: Flow) -> float | Tensor:
        """Strain that is let be, for every flow (n, 1, 1, 1)."""
        if softness is None:
            return self.strain
        each = self.strain + softness.float() * (self.strain_of_soft - self.strain)
        return each.repeat_interleave(flow.shape[0] // len(each))[:, None, None, None]

    def _joined(self, i: int, h: Maps, features: list[Maps], flows: list[Flow]) -> Maps:
        """Level i's input with the picture's features, moved by the flow so far."""
        seen = self.join[i](features[i])
        if i == 0:
            return h + seen.repeat_interleave(h.shape[0] // len(seen), 0)
        flow = finer(flows[-1])
        h = F.interpolate(self.narrow[i - 1](h), scale_factor=2) + self.see[i - 1](flow.to(h.dtype))
        return h + channels_last(warped(seen, flow).to(h.dtype))

    def _more(self, i: int, h: Maps, flows: list[Flow]) -> Flow:
        """The flow so far, corrected by level i."""
        more: Tensor = self.flow[i](F.relu(h)).float()
        return finer(flows[-1]) + more if flows else more


class MotionNetworks(nn.Module):
    """Encoder and decoder of one set of latents, and the latents' spread."""

    def __init__(self, config: MotionCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = MotionEncoder(config), MotionDecoder(config)
        self.register_buffer("std", torch.ones(config.latent_channels))
        self.std: Tensor

    def changes(self, clips: RgbaPixels, pictures: RgbaPicture) -> RawLatents:
        """What the encoder says of every frame, less what it says of the picture: zero where a frame is the picture."""
        b, f = clips.shape[:2]
        frames = torch.cat([clips, pictures[:, None]], 1).flatten(0, 1)
        said = self.encoder(frames, pictures.repeat_interleave(f + 1, 0)).float().unflatten(0, (b, f + 1))
        return said[:, :-1] - said[:, -1:]

    def encode(self, clips: RgbaPixels, pictures: RgbaPicture) -> Latents:
        """The same, of unit spread."""
        return self.changes(clips, pictures) / self.std[:, None, None]

    def slimmer(self, depth: tuple[int, int, int, int]) -> "MotionNetworks":
        """A copy with so many residual blocks in the decoder, the last of each size left out; it needs training."""
        return self._copied(depth=depth)

    def for_generation(
        self,
        window: float,
        bends: float,
        trust_bias: float,
        draws: bool = True,
        strain: float = 0.0,
        strain_of_soft: float = 0.0,
    ) -> "MotionNetworks":
        """A copy whose decoder moves whole pieces and draws less; training is done without (MotionCodecConfig)."""
        ends = {"window": window, "bends": bends, "trust_bias": trust_bias, "draws": draws}
        return self._copied(**ends, strain=strain, strain_of_soft=strain_of_soft)

    def _copied(self, **changes: object) -> "MotionNetworks":
        """The same weights, as far as they are left, under a changed configuration."""
        copied = MotionNetworks(MotionCodecConfig.model_validate(self.config.model_dump() | changes))
        mine = self.state_dict()
        copied.load_state_dict({k: mine[k].clone() for k in copied.state_dict()})
        return quick_layout(copied).to(self.std.device)

    def draw(self, latents: Latents, pictures: RgbaPicture, softness: Softness | None = None) -> Decoded:
        """Frames of latents of unit spread, with what they are made of."""
        return self.decoder(latents * self.std[:, None, None], pictures, softness)[0]
