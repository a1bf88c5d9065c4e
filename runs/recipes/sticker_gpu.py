"""The embedded model trained further on one GPU within minutes: codec, teacher, decoder, then students.

    python runs/recipes/sticker_gpu.py PACK OUT --init MODEL --parts codec=200 teacher=230 decoder=80
    python runs/recipes/sticker_gpu.py PACK OUT --init MODEL --parts student=90 judged=90

PACK is what runs/recipes/sticker_gpu_pack.py wrote. Every part runs for so many seconds by its own clock and writes
its weights, half precision, into OUT (CODEC, TOWER, TEACHER, ... .safetensors) and figures into OUT/log.jsonl; --kept
is a folder that a later call begins from, where there is one. `assemble` puts the weights into a model folder:

    python runs/recipes/sticker_gpu.py assemble OUT MODEL NEW --student student

Frames, pools of latents and noise lie on the GPU, and whole batches are drawn there: a loader on the CPU would be
slower than the networks. The updates themselves are those of `sfv train`.
"""

import argparse
import copy
import dataclasses
import io
import json
import math
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfv.data.loops import PROGRAM_SECONDS, PROGRAMS, ROOM, STILL_SIDE, pose, premultiplied
from sfv.families.base import VideoModel
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.codec import MotionNetworks
from sfv.families.motion.networks import MotionCodec, MotionConditioner
from sfv.system.device import bf16_autocast
from sfv.training.batches import PICTURE, ClipSampler, replaced
from sfv.training.config import MotionCodecTraining, MotionDecoderTraining, Schedule, StudentTraining, TeacherTraining
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.objectives.denoising import TeacherTask
from sfv.training.objectives.motion_codec import MotionCodecTask
from sfv.training.objectives.motion_decoder import MotionDecoderTask
from sfv.training.objectives.perceptual import Perceptual
from sfv.training.parallel import ALONE
from sfv.training.seeds import Rngs, Seeds, generator

Look = Callable[[], dict[str, float]]
SIZE, FPS = 128, 24
GRAIN = 1000
"""Steps that a part's configuration speaks of: its clock is counted in thousandths."""
STUDENTS: dict[str, dict[str, Any]] = {
    "student": {},
    "judged": {"backbone_lora": 32, "shared": False, "head_updates": 1},
}
"""Students: as before, and one whose judge's own network learns by adapters."""


def decoded(path: Path) -> np.ndarray:
    """(f, SIZE, SIZE, 4) uint8 of a clip whose right half is alpha; by OpenCV where there is no PyAV."""
    try:
        import cv2
    except ImportError:
        from sfv.media import read_video_bytes

        whole = read_video_bytes(path.read_bytes()).numpy()
    else:
        video, frames = cv2.VideoCapture(str(path)), []
        while (got := video.read())[0]:
            frames.append(got[1][..., ::-1])
        whole = np.stack(frames)
    colours, alpha = whole[:, :, :SIZE], whole[:, :, SIZE:].mean(-1, keepdims=True).round().astype(np.uint8)
    return np.concatenate([colours, alpha], -1)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Which loops a batch shows, on the CPU: clips (b,) or -1 where a program moves a still, and how."""

    clip: Tensor
    still: Tensor
    program: Tensor
    strength: Tensor
    rounds: Tensor


class Loops:
    """All training frames and stills on one device; batches of looped frames, looks included."""

    def __init__(
        self, pack: Path, device: torch.device, programmed: float, most: int | None = None, listed: str = "clips.json"
    ) -> None:
        rows = json.loads((pack / listed).read_text())[:most]
        with ThreadPoolExecutor(16) as readers:
            clips = list(readers.map(decoded, [pack / "clips" / f"{r['id']}.mp4" for r in rows]))
        self.frames = torch.cat([torch.from_numpy(c).permute(0, 3, 1, 2).contiguous().to(device) for c in clips])
        self.count = torch.tensor([len(c) for c in clips])
        self.start = self.count.cumsum(0) - self.count
        families: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            families.setdefault(row["family"], []).append(i)
        self.families = list(families.values())
        with zipfile.ZipFile(pack / "stills.zip") as archive:
            pictures = [Image.open(io.BytesIO(archive.read(n))).convert("RGBA") for n in archive.namelist()]
        rgba = torch.stack([torch.from_numpy(np.array(p)) for p in pictures]).permute(0, 3, 1, 2)
        self.stills = rgba.contiguous().to(device)
        self.device, self.programmed = device, programmed

    def draw(self, b: int, rng: torch.Generator) -> Drawn:
        """A family evenly, a member evenly; stills for `programmed` of the batch."""
        u = torch.rand(b, 5, generator=rng)
        family = [self.families[int(v * len(self.families))] for v in u[:, 0].tolist()]
        clip = torch.tensor(
            [members[int(v * len(members))] for members, v in zip(family, u[:, 1].tolist(), strict=True)]
        )
        clip = torch.where(u[:, 2] < self.programmed, -1, clip)
        v = torch.rand(b, 4, generator=rng)
        program = torch.where(clip < 0, 1 + (v[:, 0] * (len(PROGRAMS) - 1)).long(), 0)
        rounds = torch.where(program == PROGRAMS.index("spin"), 1, 1 + (3 * v[:, 1]).long())
        return Drawn(clip, (v[:, 2] * len(self.stills)).long(), program, v[:, 3], rounds)

    def seconds(self, drawn: Drawn) -> Tensor:
        """(b,) of one round."""
        return torch.where(drawn.clip < 0, PROGRAM_SECONDS, self.count[drawn.clip] / FPS)

    def layers(self, drawn: Drawn, times: Tensor) -> Tensor:
        """(b, k, 4, SIZE, SIZE) in [0, 1] at shares of the loop (b, k)."""
        b, k = times.shape
        out = torch.empty(b, k, 4, SIZE, SIZE, device=self.device)
        if len(real := (drawn.clip >= 0).nonzero()[:, 0]):
            clip = drawn.clip[real]
            at = (times[real] * self.count[clip, None]).round().long() % self.count[clip, None] + self.start[clip, None]
            shown = self.frames[at.flatten().to(self.device)].float() / 255
            out[real.to(self.device)] = premultiplied(shown).view(-1, k, 4, SIZE, SIZE)
        if len(made := (drawn.clip < 0).nonzero()[:, 0]):
            thetas = [self._pose(drawn, i, times[i]) for i in made.tolist()]
            still = self.stills[drawn.still[made].to(self.device)].float() / 255
            still = torch.cat([still[:, :3] * still[:, 3:], still[:, 3:]], 1)
            grid = F.affine_grid(torch.cat(thetas).to(self.device), [len(made) * k, 4, STILL_SIDE, STILL_SIDE], False)
            moved = F.grid_sample(still.repeat_interleave(k, 0), grid, align_corners=False)
            small = F.interpolate(moved, (SIZE, SIZE), mode="area").clamp(0, 1)
            out[made.to(self.device)] = small.view(-1, k, 4, SIZE, SIZE)
        return out

    @staticmethod
    def _pose(drawn: Drawn, i: int, times: Tensor) -> Tensor:
        theta = pose(PROGRAMS[int(drawn.program[i])], times * int(drawn.rounds[i]), float(drawn.strength[i]))
        return theta / torch.tensor([ROOM, ROOM, 1])

    def look(self, layers: Tensor, clear: float, rng: torch.Generator, plain: float = 0.6) -> Tensor:
        """Placed, coloured and laid over grounds as data/loops.py does it; in [-1, 1]."""
        b = len(layers)
        u, place, order = (
            torch.rand(b, 3, generator=rng),
            torch.rand(b, 5, generator=rng),
            torch.rand(b, 3, generator=rng),
        )
        flip, scale, angle, dx, dy = place.unbind(1)
        scale, angle, sign = 0.75 + 0.35 * scale, (angle - 0.5) * 0.28, torch.where(flip < 0.5, -1.0, 1.0)
        c, s = angle.cos() / scale, angle.sin() / scale
        rows = [sign * c, -sign * s, (dx - 0.5) * 0.2, s, c, (dy - 0.5) * 0.2]
        theta = torch.stack(rows, 1).view(b, 2, 3)
        theta = torch.where((u[:, 0] < 0.85)[:, None, None], theta, torch.eye(2, 3))
        grid = F.affine_grid(theta.to(self.device), [b, 4, SIZE, SIZE], False)
        layers = F.grid_sample(layers.flatten(1, 2), grid, align_corners=False).clamp(0, 1).view_as(layers)
        order = torch.where((u[:, 2] < 0.2)[:, None], order.argsort(1), torch.arange(3))
        order = torch.cat([order, torch.full((b, 1), 3)], 1).to(self.device)
        layers = layers.take_along_dim(order[:, None, :, None, None], 2)
        ground, lies = self._grounds(b, plain, rng), (u[:, 1] >= clear).to(self.device)[:, None, None, None, None]
        over = torch.cat(
            [layers[:, :, :3] + (1 - layers[:, :, 3:]) * ground[:, None], torch.ones_like(layers[:, :, 3:])], 2
        )
        return torch.where(lies, over.clamp(0, 1), layers) * 2 - 1

    def _grounds(self, b: int, plain: float, rng: torch.Generator) -> Tensor:
        """(b, 3, SIZE, SIZE): white, a colour, or a gradient between two."""
        v, a, z = torch.rand(b, generator=rng), *torch.rand(2, b, 3, 1, 1, generator=rng)
        angle = torch.rand(b, 1, 1, 1, generator=rng) * 2 * math.pi
        a = torch.where((v < plain)[:, None, None, None], 1.0, a)
        z = torch.where((v < (1 + plain) / 2)[:, None, None, None], a, z)
        line = torch.linspace(-0.5, 0.5, SIZE, device=self.device)
        a, z, angle = (w.to(self.device) for w in (a, z, angle))
        ramp = (angle.cos() * line[None, :] + angle.sin() * line[:, None] + 0.5).clamp(0, 1)
        return a + (z - a) * ramp

    def whole(self, b: int, frames: int, rng: torch.Generator, rest: float, clear: float) -> tuple[Tensor, Drawn]:
        """Whole rounds (b, frames, 4, SIZE, SIZE) in [-1, 1]."""
        drawn, u = self.draw(b, rng), torch.rand(b, 2, generator=rng)
        start = torch.where(u[:, 0] < rest, 0.0, u[:, 1])
        times = start[:, None] + torch.arange(frames) / frames
        return self.look(self.layers(drawn, times), clear, rng), drawn


class Pool(ClipSampler):
    """Encoded loops on the device: a batch is one index."""

    def __init__(self, loops: Loops, model: VideoModel, count: int, learns: bool) -> None:
        self.loops, self.codec, self.conditioner = loops, model.codec, model.conditioner
        assert isinstance(model.codec, MotionCodec)
        self.networks = model.codec.networks
        self.learns = model.conditioner.picture_tower() if learns else None
        self.frames, rng, parts = model.defaults.frames, generator(7), []
        for _ in range(math.ceil(count / 64)):
            pixels, drawn = loops.whole(64, self.frames, rng, 0.6, 0.3)
            parts.append((*self._encoded(pixels), loops.seconds(drawn), drawn.program))
        self.x0, self.pictures, seconds, program = (torch.cat(v) for v in zip(*parts, strict=True))
        self.facts = torch.stack([self.frames / seconds, program.float()], 1).to(loops.device)
        moves = frame_differences(self.x0[:2000].float())
        self.ranks = torch.quantile(moves, torch.linspace(0, 1, 256, device=moves.device))

    @torch.no_grad()
    def _encoded(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with bf16_autocast(pixels.device):
            x0 = self.networks.encode(pixels, pixels[:, 0])
        return x0.half(), ((pixels[:, 0] + 1) * 127.5).round().clamp(0, 255).byte()

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """As LoopBatches.draw."""
        at = torch.randint(len(self.x0), (len(rngs),), generator=rngs.shared).to(self.loops.device)
        x0, cond = self._conditioned(self.x0[at].float(), self.pictures[at].float() / 127.5 - 1, self.facts[at])
        self.picture_spread = self.conditioner.spread(cond)
        keep = (rngs.uniform() >= drop).to(x0.device)
        return x0, replaced(cond, self.conditioner.unconditional(cond), keep)

    def with_pixels(self, rngs: Rngs) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """As LoopBatches.with_pixels."""
        pixels, drawn = self.loops.whole(len(rngs), self.frames, rngs.shared, 0.6, 0.3)
        x0, _ = self._encoded(pixels)
        facts = torch.stack([self.frames / self.loops.seconds(drawn), drawn.program.float()], 1).to(x0.device)
        return pixels, *self._conditioned(x0.float(), pixels[:, 0], facts)

    def _conditioned(self, x0: Tensor, pictures: Tensor, facts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        motion = torch.searchsorted(self.ranks, frame_differences(x0)).clamp(max=255).float()
        ids = {"fps": facts[:, 0], "motion": motion, "program": facts[:, 1]}
        with torch.set_grad_enabled(self.learns is not None and torch.is_grad_enabled()):
            with bf16_autocast(x0.device):
                cond = self.conditioner(pictures, **ids)
        return x0, cond | {PICTURE: pictures}


def frame_differences(x0: Tensor) -> Tensor:
    """batches.frame_difference of every loop (b, f, c, y, x)."""
    return (x0[:, 1:] - x0[:, :-1]).square().mean((1, 2, 3, 4)).sqrt()


class Held:
    """Loops of selection families: a network's error there, as a share of a still's, tells of memorising."""

    def __init__(self, loops: Loops, model: VideoModel) -> None:
        self.loops, self.model = loops, model
        n = min(16, len(loops.count))
        zero = torch.zeros(n, dtype=torch.long)
        drawn = Drawn(torch.arange(n), zero, zero, torch.zeros(n), zero)
        times = torch.arange(24).expand(n, -1) / 24
        layers = loops.layers(drawn, times)
        self.pixels = torch.cat([layers[:, :, :3] + 1 - layers[:, :, 3:], torch.ones_like(layers[:, :, 3:])], 2) * 2 - 1
        self.fps = 24 / loops.seconds(drawn).to(loops.device)

    @torch.no_grad()
    def psnr(self, networks: MotionNetworks) -> float:
        """Of the codec, dB over white."""
        errors = []
        for pixels in torch.split(self.pixels, 8):
            with bf16_autocast(pixels.device):
                drawn = networks.draw(networks.encode(pixels, pixels[:, 0]), pixels[:, 0]).frames
            errors.append((drawn.float() - pixels)[:, :, :3].square().mean((1, 2, 3, 4)) / 4)
        return float(-10 * torch.cat(errors).log10().mean())

    @torch.no_grad()
    def errors(self, denoiser: Any, pool: Pool) -> dict[str, float]:
        """Of one answer, by noise level."""
        x0, pictures = (v.float() for v in pool._encoded(self.pixels))
        facts = torch.stack([self.fps, torch.zeros_like(self.fps)], 1)
        x0, cond = pool._conditioned(x0, pictures / 127.5 - 1, facts)
        n = torch.randn(x0.shape, generator=generator(3)).to(x0.device)
        shown = {}
        for level in (1.0, 5.0, 20.0, 100.0):
            sigma = torch.full((len(x0),), level, device=x0.device)
            with bf16_autocast(x0.device):
                answer = denoiser(x0 + level * n, sigma, cond).float()
            shown[f"held_{level:g}"] = float((answer - x0).square().mean() / x0.square().mean())
        return shown


class CodecTask(MotionCodecTask):
    """Batches drawn on the device."""

    def __init__(
        self, networks: MotionNetworks, loops: Loops, config: MotionCodecTraining, perceptual: Perceptual
    ) -> None:
        super().__init__(networks, None, config, perceptual)
        self.loops = loops

    def drawn(self, rngs: Rngs) -> tuple[Tensor, Tensor, Tensor]:
        """As motion_codec.draw_frames."""
        config, rng, b = self.config, rngs.shared, len(rngs)
        chosen, u = self.loops.draw(b, rng), torch.rand(b, 4, generator=rng)
        start = torch.where(u[:, 0] < config.rest, 0.0, u[:, 1])[:, None]
        near, step = u[:, 2] < config.between, torch.randint(1, 3, (b, 1), generator=rng) / 72
        free = torch.rand(b, 3, generator=rng)
        free[:, 0] = torch.where(u[:, 3] < 0.1, 0.0, free[:, 0])
        times = torch.where(near[:, None], u[:, 3:] + torch.arange(3) * step, free)
        layers = self.loops.layers(chosen, start + torch.cat([torch.zeros(b, 1), times], 1))
        frames = self.loops.look(layers, config.clear, rng)
        return frames[:, 0], frames[:, 1:], near


class Log:
    """Lines of figures in a file and on the screen."""

    def __init__(self, path: Path) -> None:
        self.path, self.begin = path, time.monotonic()

    def __call__(self, **row: Any) -> None:
        """One line."""
        row = {"t": round(time.monotonic() - self.begin, 1)} | row
        text = json.dumps({k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()})
        print(text, flush=True)
        with open(self.path, "a") as file:
            file.write(text + "\n")


def clocked(
    task: Any,
    config: Schedule,
    seconds: float,
    device: torch.device,
    log: Log,
    name: str,
    look: Look | None = None,
) -> None:
    """`task` for so many seconds: rates warm up by steps and fall by the clock; `look` gives figures of averages."""
    base = {id(o): [g["lr"] for g in o.param_groups] for o in task.optimizers.values()}
    begin = said = time.monotonic()
    n, rows, bad, looked = 0, [], 0, 0
    while (share := (time.monotonic() - begin) / seconds) < 1:
        late = max(0.0, share - config.decay_from) / max(1e-9, 1 - config.decay_from)
        factor = min(1.0, (n + 1) / max(1, config.warmup)) * (0.02 + 0.49 * (1 + math.cos(math.pi * late)))
        for optimizer in task.optimizers.values():
            for group, lr in zip(optimizer.param_groups, base[id(optimizer)], strict=True):
                group["lr"] = lr * factor
        rows.append(task.step(int(share * config.steps), Seeds(config.seed, n, 0, device)))
        bad += not math.isfinite(rows[-1].get("loss", rows[-1].get("d_loss", 0.0)))
        if bad > 50:
            raise RuntimeError(f"{name}: losses are not finite")
        for average in task.averages.values():
            average.update()
        n += 1
        if time.monotonic() - said > 5:
            said = time.monotonic()
            mean = {k: sum(r[k] for r in rows) / len(rows) for k in rows[0]}
            seen: dict[str, float] = {}
            if look is not None and share * 8 >= looked:
                looked, seen = looked + 1, look()
            log(part=name, step=n, share=round(share, 3), **mean, **seen)
            rows = []
    log(part=name, step=n, done=True, seconds_per_step=(time.monotonic() - begin) / max(1, n))


def stored(out: Path, name: str, module: torch.nn.Module) -> None:
    """Half precision, written beside and renamed."""
    beside = out / f"{name}.part"
    save_file({k: v.detach().half().cpu().contiguous() for k, v in module.state_dict().items()}, beside)
    beside.rename(out / f"{name}.safetensors")


def restored(folder: Path | None, name: str, module: torch.nn.Module) -> bool:
    """Take over stored weights, if there are any."""
    if folder is None or not (folder / f"{name}.safetensors").exists():
        return False
    module.load_state_dict({k: v.float() for k, v in load_file(folder / f"{name}.safetensors").items()})
    return True


def settings(name: str, clips: int) -> dict[str, Any]:
    """The configuration of a part."""
    shared: dict[str, Any] = {"steps": GRAIN, "seed": int(time.time()) % 10000, "log_every": 1}
    if name == "codec":
        shared |= {"clips": clips, "warmup": 100, "decay_from": 0.4, "supervised": 0.0, "perceptual_from": 0.0}
        return shared | {"doubt_from": 0.0, "lr": 2e-3, "ema": 0.998}
    if name == "teacher":
        shared |= {"clips": clips, "p_mean": 0.8, "p_std": 1.5, "wide": 0.15, "drop": 0.1, "warmup": 60}
        return shared | {"decay_from": 0.4, "lr": 2e-3, "ema": 0.998}
    if name == "decoder":
        return shared | {"clips": clips, "frames": 6, "warmup": 40, "decay_from": 0.3, "lr": 1e-3, "ema": 0.995}
    shared |= {"clips": clips, "lora": 64, "lr": 3e-4, "lr_heads": 3e-3, "head_width": 160, "head_updates": 2}
    return shared | {"head_start": 50, "warmup": 0, "decay_from": 0.5, "ema": 0.995} | STUDENTS[name]


class Recipe:
    """A model on its way: its parts are trained one after another, each by its own clock."""

    def __init__(self, args: argparse.Namespace, log: Log) -> None:
        self.args, self.log, self.device = args, log, torch.device(args.device)
        self.loops = Loops(args.pack, self.device, args.programmed, args.most)
        log(frames=len(self.loops.frames), stills=len(self.loops.stills))
        self.model = motion_folder.load(args.init, "teacher", torch.float32, "start").to(self.device)
        assert isinstance(self.model.codec, MotionCodec) and isinstance(self.model.conditioner, MotionConditioner)
        self.tower = self.model.conditioner.tower
        self.networks = self.model.codec.networks.for_generation(0.0, 1.0, 0.0).requires_grad_(True)
        for name, module in (("codec", self.networks), ("tower", self.tower), ("teacher", self.model.denoiser)):
            restored(args.kept, name, module)
        self.held = Held(Loops(args.pack, self.device, 0.0, args.most, "held.json"), self.model)
        self.perceptual = Perceptual(args.pack)

    def train(self, name: str, seconds: float) -> None:
        """One part."""
        if name == "codec":
            self._codec(seconds)
        elif name == "teacher":
            self._teacher(seconds)
        elif name == "decoder":
            self._decoder(seconds)
        else:
            self._student(name, seconds)
        if self.device.type == "cuda":
            self.log(memory=torch.cuda.max_memory_allocated() / 2**30)
            torch.cuda.empty_cache()

    def _run(self, name: str, task: Any, config: Schedule, seconds: float, look: Look | None = None) -> None:
        clocked(task, config, seconds, self.device, self.log, name, look)

    def _pool(self, learns: bool) -> Pool:
        self.model = dataclasses.replace(self.model, codec=MotionCodec(self.networks.eval().requires_grad_(False)))
        pool = Pool(self.loops, self.model, self.args.pool, learns)
        self.log(pool=len(pool.x0))
        return pool

    def _codec(self, seconds: float) -> None:
        config = MotionCodecTraining(**settings("codec", self.args.codec_clips))
        task = CodecTask(self.networks, self.loops, config, self.perceptual)
        self._run("codec", task, config, seconds, lambda: {"held_psnr": self.held.psnr(self.networks)})
        task.averages["codec"].into(self.networks)
        stored(self.args.out, "codec", self.networks.eval())
        self.log(codec_psnr=self.held.psnr(self.networks))

    def _teacher(self, seconds: float) -> None:
        pool, D = self._pool(learns=True), self.model.denoiser.requires_grad_(True)
        config = TeacherTraining(**settings("teacher", self.args.teacher_clips))
        task = TeacherTask(D, pool, config, (self.model.sigma_min, self.model.sigma_max))
        self._run("teacher", task, config, seconds, lambda: self.held.errors(D, pool))
        task.averages["denoiser"].into(D)
        task.averages["tower"].into(self.tower)
        self.log(**self.held.errors(D, pool))
        stored(self.args.out, "teacher", D.eval().requires_grad_(False))
        stored(self.args.out, "tower", self.tower.eval().requires_grad_(False))

    def _decoder(self, seconds: float) -> None:
        pool = self._pool(learns=False)
        config = MotionDecoderTraining(**settings("decoder", self.args.decoder_clips))
        task = MotionDecoderTask(self.networks, self.model, pool, config, self.perceptual)
        self._run("decoder", task, config, seconds)
        task.averages["decoder"].into(self.networks.decoder)
        self.log(redrawn_psnr=self.held.psnr(self.networks))
        stored(self.args.out, "redrawn", self.networks.eval().requires_grad_(False))

    def _student(self, name: str, seconds: float) -> None:
        pool = self._pool(learns=False)
        config = StudentTraining(**settings(name, self.args.student_clips))
        task = StudentTask(copy.deepcopy(self.model.denoiser), pool, config, self.model.noise_range)
        self._run(name, task, config, seconds)
        stored(self.args.out, name, task.learner.ended(task.averages["generator"], 1.0, self.args.out, ALONE))


def train(args: argparse.Namespace) -> None:
    """The parts that were asked for."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    args.out.mkdir(parents=True, exist_ok=True)
    log = Log(args.out / "log.jsonl")
    log(device=torch.cuda.get_device_name() if args.device == "cuda" else args.device, torch=torch.__version__)
    recipe = Recipe(args, log)
    for text in args.parts:
        name, _, seconds = text.partition("=")
        recipe.train(name, float(seconds))
    log(finished=True)


def assemble(args: argparse.Namespace) -> None:
    """A model folder of stored weights; parts that OUT lacks are the old model's."""
    for unet in ("teacher", "unet"):
        model = motion_folder.load(args.model, "teacher", torch.float32, "start")
        assert isinstance(model.codec, MotionCodec) and isinstance(model.conditioner, MotionConditioner)
        networks: MotionNetworks = model.codec.networks
        restored(args.out, "redrawn", networks) or restored(args.out, "codec", networks)
        restored(args.out, "tower", model.conditioner.tower)
        restored(args.out, "teacher" if unet == "teacher" else args.student, model.denoiser)
        old = motion_folder.load(args.model, unet, torch.float32, "start")
        model = dataclasses.replace(model, defaults=old.defaults, codec=MotionCodec(networks))
        motion_folder.save(model, args.new, unet, torch.float16)


def main() -> None:
    """Train, or assemble."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    if sys.argv[1:2] == ["assemble"]:
        for name in ("_", "out", "model", "new"):
            parser.add_argument(name, type=Path)
        parser.add_argument("--student", default="student")
        assemble(parser.parse_args())
        return
    for name in ("pack", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--parts", nargs="+", required=True, metavar="NAME=SECONDS")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--programmed", type=float, default=0.3)
    parser.add_argument("--pool", type=int, default=24000)
    parser.add_argument("--most", type=int, help="so many clips alone, for a trial")
    for part, clips in (("codec", 64), ("teacher", 256), ("decoder", 32), ("student", 32)):
        parser.add_argument(f"--{part}-clips", type=int, default=clips)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
