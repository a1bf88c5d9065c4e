"""Training of the codec that holds what changes: reconstruction of a loop's frames from one of them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.data.loops import LoopSource, random_look
from sfv.decoding.decoder import Decoded
from sfv.decoding.warping import Flow, warped
from sfv.families.base import apart
from sfv.families.motion.codec import Learning, MotionNetworks
from sfv.media import flow_to
from sfv.system.device import bf16_autocast
from sfv.training.config import MotionCodecTraining
from sfv.training.ema import EMA
from sfv.training.health import CONDITION_RULES
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.perceptual import Perceptual
from sfv.training.optimizers import Muon
from sfv.training.parallel import ALONE, World, update
from sfv.training.seeds import Rngs, Seeds
from sfv.types import RgbaPicture, RgbaPixels

SURE, FAR = 0.15, 20.0
"""Mean error (of 2) up to which optical flow is believed; pixels of flow error that weigh as an error of 1."""


def draw_frames(source: LoopSource, config: MotionCodecTraining, rng: torch.Generator) -> tuple[Tensor, Tensor, bool]:
    """One clip's picture (4, h, w) and three frames (3, 4, h, w) in [-1, 1].

    With probability `between` the three are neighbours, so that the middle one may be drawn from what lies between the
    latents of the two others; the third value marks it. Else one of them is the picture itself with probability 0.1.
    """
    loop = source.draw(rng)
    u = torch.rand(4, generator=rng).tolist()
    start = 0.0 if u[0] < config.rest else u[1]
    neighbours = u[2] < config.between
    if neighbours:
        times = u[3] + torch.tensor([0.0, 1.0, 2.0]) * float(1 + torch.randint(2, (), generator=rng)) / 72
    else:
        times = torch.rand(3, generator=rng)
        times[0] = 0.0 if u[3] < 0.1 else times[0]
    layers = loop.frames(start + torch.cat([torch.zeros(1), times]))
    frames = random_look(source.store.size, rng, config.clear)(layers) * 2 - 1
    return frames[0], frames[1:], neighbours


def draw_batch(source: LoopSource, config: MotionCodecTraining, rngs: Rngs) -> tuple[RgbaPicture, RgbaPixels, Tensor]:
    """Pictures (b, 4, h, w), frames (b, 3, 4, h, w), and which clips' frames are neighbours (b,)."""
    drawn = [draw_frames(source, config, rng) for rng in rngs.each]
    pictures, frames, near = zip(*drawn, strict=True)
    return torch.stack(pictures), torch.stack(frames), torch.tensor(near)


def composited(pixels: Tensor, background: Tensor) -> Tensor:
    """RGBA multiplied with alpha, in [-1, 1] (n, 4, h, w), over colours in [0, 1] (n, 3, 1, 1) -> RGB in [-1, 1]."""
    return pixels[:, :3] + (1 - pixels[:, 3:]) * background


def pixel_error(error: Tensor, config: MotionCodecTraining) -> Tensor:
    """|e| + mse e^2 + edges |gradient of e|, and half of |e| at a half and a quarter of the size."""
    loss = error.abs().mean() + config.mse * error.square().mean()
    for steps in (error.diff(dim=-1), error.diff(dim=-2)):
        loss = loss + config.edges * steps.abs().mean()
    for size in (2, 4):
        loss = loss + 0.5 * F.avg_pool2d(error, size).abs().mean()
    return loss


def known_flow(frames: RgbaPixels, pictures: RgbaPicture) -> tuple[Flow, Tensor]:
    """Optical flow (DIS) of every frame to its picture, and where it finds the frame there."""
    grey = [((v[:, :3] - v[:, 3:]) * 127.5 + 255).clamp(0, 255).byte() for v in (frames.flatten(0, 1), pictures)]
    seen, first = (v.permute(0, 2, 3, 1).contiguous() for v in grey)  # over white
    flows = [flow_to(f, p) for f, p in zip(seen.cpu().split(frames.shape[1]), first.cpu(), strict=True)]
    known = torch.cat(flows).permute(0, 3, 1, 2).to(frames.device)
    found = warped(pictures, known)
    sure = ((found - frames.flatten(0, 1)).abs().mean(1, keepdim=True) < SURE).float()
    return known, sure


def flow_error(flows: list[Flow], whole: Flow, known: Flow, sure: Tensor) -> Tensor:
    """|flow - optical flow| in pixels, where that is sure, summed over levels."""
    total = torch.zeros((), device=whole.device)
    for flow in [*flows, whole]:
        size = known.shape[-1] // flow.shape[-1]
        target, weight = (F.avg_pool2d(v, size) if size > 1 else v for v in (known, sure))
        total = total + (weight * (flow * size - target).abs()).mean()
    return total


def reconstruction_loss(
    drawn: Decoded,
    learning: Learning,
    pictures: RgbaPicture,
    frames: RgbaPixels,
    share: float,
    rngs: Rngs,
    config: MotionCodecTraining,
    perceptual: Perceptual | None,
) -> tuple[Tensor, Logs]:
    """`pixel_error` of the frames, LPIPS over a random colour, and prices on the moved picture's error, on the flow's
    bends, on drawing, and on what is drawn alone; `share` of the run is over."""
    true = frames.flatten(0, 1)
    assert drawn.moved is not None and drawn.trust is not None and drawn.flow is not None
    drawn_frames, whole = drawn.frames.flatten(0, 1), drawn.flow.flatten(0, 1)
    error = drawn_frames - true
    astray, alone = ((v - true).abs().mean() for v in (drawn.moved.flatten(0, 1), learning.drawn))
    bends = torch.stack([whole.diff(dim=d).abs().mean() for d in (-1, -2)]).sum()
    drawing = (1 - drawn.trust).mean()
    loss = pixel_error(error, config) + config.follow * astray + config.smooth * bends + config.alone * alone
    loss = loss + (config.doubt if share >= config.doubt_from else 0.0) * drawing
    seen = torch.zeros((), device=true.device)
    if perceptual is not None and share >= config.perceptual_from:
        seen = looks_unlike(drawn_frames, true, rngs, perceptual)
        loss = loss + config.perceptual * seen
    if share < config.supervised:
        loss = loss + config.flow * flow_error(learning.flows, whole, *known_flow(frames, pictures)) / FAR
    logs = {"psnr": float(-10 * (error.detach().square().mean() / 4).log10())}
    logs |= {"alpha": float(error[:, 3].detach().abs().mean()) / 2, "trust": 1 - float(drawing.detach())}
    spread = apart(learning.features)
    logs |= {} if spread is None else {"picture_spread": spread}
    return loss, logs | {k: float(v.detach()) for k, v in (("astray", astray), ("alone", alone), ("lpips", seen))}


def looks_unlike(drawn_frames: Tensor, true: Tensor, rngs: Rngs, perceptual: Perceptual) -> Tensor:
    """LPIPS of frames (n, 4, h, w) laid over one random colour a clip."""
    each = torch.stack([torch.rand(3, generator=g) for g in rngs.each]).to(drawn_frames.device)
    ground = each.repeat_interleave(len(drawn_frames) // len(rngs), 0)
    a, b = (composited(v, ground[:, :, None, None]) for v in (drawn_frames, true))
    with bf16_autocast(drawn_frames.device):
        return perceptual(a, b)


class MotionCodecTask:
    """One optimiser over encoder and decoder."""

    def __init__(
        self,
        networks: MotionNetworks,
        source: LoopSource | None,
        config: MotionCodecTraining,
        perceptual: Perceptual | None = None,
        world: World = ALONE,
    ) -> None:
        self.networks, self.source, self.config, self.world = networks.train(), source, config, world
        self.perceptual = perceptual
        self.params = list(networks.parameters())
        self.device = self.params[0].device
        self.modules: dict[str, nn.Module] = {"codec": networks, "spread": Spread(networks)}
        self.optimizers: dict[str, Optimizer] = {"codec": Muon(self.params, config.lr)}
        self.averages = {"codec": EMA(networks, config.ema)}
        self.rules, self.quiet_until = CONDITION_RULES, 2 * config.log_every

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh clips."""
        rngs = seeds.clips(self.config.clips)
        pictures, frames, near = (v.to(self.device) for v in self.drawn(rngs))
        share = step / self.config.steps
        with bf16_autocast(self.device):
            z = self._latents(frames, pictures, near, rngs)
            drawn, learning = self.networks.decoder(z, pictures)
        loss, logs = reconstruction_loss(drawn, learning, pictures, frames, share, rngs, self.config, self.perceptual)
        loss = loss + self.config.small * z.square().mean()
        loss.backward()
        norm = update(self.params, self.optimizers["codec"], self.world, self.config.clip)
        return {"loss": float(loss.detach()), **logs, "grad_norm": norm}

    def drawn(self, rngs: Rngs) -> tuple[RgbaPicture, RgbaPixels, Tensor]:
        """What one update learns from: `draw_batch`. Who draws otherwise needs no source."""
        assert self.source is not None
        return draw_batch(self.source, self.config, rngs)

    def _latents(self, frames: RgbaPixels, pictures: RgbaPicture, near: Tensor, rngs: Rngs) -> Tensor:
        """Latents as the encoder gives them, noised; of neighbours the middle one is the mean of the others."""
        z = self.networks.changes(frames, pictures)
        self._measure(z)
        spread = self.networks.std.clone()[:, None, None]
        middle = (z[:, 0] + z[:, 2]) / 2
        z = torch.stack([z[:, 0], torch.where(near[:, None, None, None], middle, z[:, 1]), z[:, 2]], 1)
        level = self.config.noise * torch.stack([torch.rand(3, generator=g) for g in rngs.each])
        noise = rngs.normal(*z.shape[1:]).to(z.device)
        return z + spread * level.to(z.device)[:, :, None, None, None] * noise

    @torch.no_grad()
    def _measure(self, z: Tensor) -> None:
        """The running spread of latents, a channel."""
        now = z.detach().square().mean((0, 1, 3, 4)).sqrt().clamp(min=1e-3)
        fresh = bool((self.networks.std == 1).all())
        self.networks.std.lerp_(now, 1.0 if fresh else 0.01)


class Spread(nn.Module):
    """The latents' running spread as something that a checkpoint keeps."""

    def __init__(self, networks: MotionNetworks) -> None:
        super().__init__()
        self.std = nn.Parameter(networks.std)
        networks.std = self.std.data  # one storage


def train_motion_codec(
    networks: MotionNetworks,
    source: LoopSource,
    config: MotionCodecTraining,
    run_dir: Path,
    perceptual: Perceptual | None = None,
    world: World = ALONE,
) -> MotionNetworks:
    """Train (or resume) and return the averaged networks."""
    task = MotionCodecTask(networks, source, config, perceptual, world)
    run(task, config, run_dir, {"task": "motion-codec", **config.model_dump(mode="json")}, world)
    task.averages["codec"].into(networks)
    return networks.eval()
