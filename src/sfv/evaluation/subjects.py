"""What is measured: a model with a number of steps, whose clips are made and kept, or a folder of made clips."""

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from sfv.evaluation.clipsets import ClipSet, RealClip, read_made, resized
from sfv.evaluation.features.lpips import lpips
from sfv.evaluation.features.weights import Weights
from sfv.evaluation.protocol import Protocol
from sfv.families.base import VideoModel
from sfv.generation import generate
from sfv.media import replacing
from sfv.media.pixels import to_frames
from sfv.settings import Decoder, Profile, Settings, Speed, split_row, split_speed
from sfv.speed import open_model
from sfv.types import Frames

BASELINES = ("real clips", "codec alone", "still picture")
"""Names of the rows that no model makes."""


@dataclass(frozen=True)
class Subject:
    """A row of the table: where its clips are read from, clip by clip, and what one cost."""

    name: str
    read: Callable[[int], Frames]
    calls: int = 0
    seconds: float | None = None
    unet_seconds: float | None = None
    diversity: float | None = None
    """Mean difference (levels) of clips from other seeds."""
    diversity_lpips: float | None = None
    """Their mean LPIPS."""


def subject(
    row: str,
    real: ClipSet,
    protocol: Protocol,
    kept: Path,
    decoder: Decoder | None = None,
    device: str = "auto",
    judge: Weights | None = None,
    profile: Profile = "fast",
) -> Subject:
    """MODEL[@PROFILE][:STEPS], run eagerly, or a folder of clips that are named by their pictures."""
    folder = Path(row)
    if folder.is_dir() and not (folder / "model_index.json").exists():
        made = list(read_made(folder, real.clips[:1], protocol))
        return Subject(folder.name, lambda i: made[0] if i == 0 else next(read_made(folder, [real.clips[i]], protocol)))
    title, steps = split_row(row)
    name, speed = split_speed(title, Speed(profile=profile, backend="eager"))
    model = open_model(name, device, speed)
    settings = Settings(
        steps=steps or model.defaults.steps,
        fps=protocol.fps,
        frames=protocol.frames,
        seed=protocol.seed,
        decoder=decoder,
        height=None if protocol.fit == "stretch" else protocol.height,
        width=None if protocol.fit == "stretch" else protocol.width,
    )
    asked = (
        f"{model.hash}{settings.model_dump(exclude_defaults=True)}{model.defaults}{protocol.height}x{protocol.width}"
        f"{model.speed}"
    )
    digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
    folder = kept / f"{Path(name).name}-{settings.steps}-{digest}"
    costs = make_clips(model, settings, real.clips, protocol, folder, row)
    takes = seeds_apart(model, settings, real.clips[: protocol.diversity], protocol, folder)
    title = f"{Path(title).name}:{settings.steps}"
    return Subject(title, lambda i: read_kept(folder, real.clips[i]), *costs, *diversity(takes, judge))


def read_kept(folder: Path, clip: RealClip) -> Frames:
    """A clip that was made before."""
    return load_file(kept_path(folder, clip))["frames"]


def kept_path(folder: Path, clip: RealClip, seed: str = "") -> Path:
    """Where a made clip is kept; the name tells the picture's pixels, so that no other picture's is taken for it."""
    picture = hashlib.sha256(clip.read()[0].numpy().tobytes()).hexdigest()[:8]
    return folder / f"{clip.id}-{picture}{seed}.safetensors"


def make_clips(
    model: VideoModel, settings: Settings, clips: Sequence[RealClip], protocol: Protocol, folder: Path, what: str
) -> tuple[int, float, float]:
    """Make what is not on disk yet; calls of one clip, and the median seconds of the whole and of its network."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [c for c in clips if not kept_path(folder, c).exists()]
    if todo:
        _make(model, _picture(todo[0], model, protocol), settings.model_copy(update={"steps": 1}), protocol)
    for clip in tqdm(todo, desc=what, unit="clip"):
        start = time.perf_counter()
        frames, calls, unet = _make(model, _picture(clip, model, protocol), settings, protocol)
        numbers = {"seconds": time.perf_counter() - start, "unet": unet, "calls": float(calls)}
        with replacing(kept_path(folder, clip)) as beside:
            save_file({"frames": frames} | {k: torch.tensor(v) for k, v in numbers.items()}, beside)
    costs = [_costs(kept_path(folder, c)) for c in clips]
    every, seconds, unets = zip(*costs, strict=True)
    return int(every[0]), statistics.median(seconds), statistics.median(unets)


def _costs(path: Path) -> tuple[float, ...]:
    """Calls, seconds, network's seconds; the frames stay on disk."""
    with safe_open(path, "pt") as file:
        return tuple(float(file.get_tensor(k)) for k in ("calls", "seconds", "unet"))


def _picture(clip: RealClip, model: VideoModel, protocol: Protocol) -> torch.Tensor:
    """The condition: the real clip's first frame, at the model's size if the protocol stretches."""
    first = clip.read()[0]
    if protocol.fit != "stretch":
        return first
    return resized(first, model.defaults.height, model.defaults.width, "stretch")


def _make(
    model: VideoModel, picture: torch.Tensor, settings: Settings, protocol: Protocol
) -> tuple[Frames, int, float]:
    clip = generate(model, picture, settings)
    frames = torch.stack([resized(f, protocol.height, protocol.width, "stretch") for f in clip.frames])
    return frames, clip.calls, clip.seconds["unet"]


def seeds_apart(
    model: VideoModel, settings: Settings, clips: Sequence[RealClip], protocol: Protocol, folder: Path
) -> list[list[Frames]]:
    """Each picture's clips from three seeds; the first is the one that is measured."""
    every = []
    for clip in clips:
        takes = [read_kept(folder, clip)]
        for k in (1, 2):
            again = settings.model_copy(update={"seed": settings.seed + k})
            path = kept_path(folder, clip, f"-seed{again.seed}")
            if not path.exists():
                frames, *_ = _make(model, _picture(clip, model, protocol), again, protocol)
                with replacing(path) as beside:
                    save_file({"frames": frames}, beside)
            takes.append(load_file(path)["frames"])
        every.append(takes)
    return every


@torch.inference_mode()
def diversity(every: list[list[Frames]], w: Weights | None) -> tuple[float | None, float | None]:
    """Mean absolute difference (levels) and mean LPIPS of every two clips of one picture; None for no pictures."""
    pairs = [(takes[i], takes[j]) for takes in every for i, j in ((0, 1), (0, 2), (1, 2))]
    if not pairs:
        return None, None
    levels = statistics.fmean(float((a.float() - b.float()).abs().mean()) for a, b in pairs)
    return levels, None if w is None else statistics.fmean(float(lpips(a, b, w).mean()) for a, b in pairs)


def baselines(real: ClipSet, model: VideoModel | None, decoder: Decoder | None) -> list[Subject]:
    """The real clips, the same through the model's codec alone (whose fidelity it tells), and the still picture."""
    rows = [Subject("real clips", lambda i: real.clips[i].read())]
    if model is not None:
        name = model.decoder(decoder)
        rows.append(Subject("codec alone", lambda i: through_codec(model, real.clips[i].read(), name)))
    return [*rows, Subject("still picture", lambda i: _still(real.clips[i].read()))]


def _still(frames: Frames) -> Frames:
    return frames[:1].expand(len(frames), -1, -1, -1).contiguous()


@torch.inference_mode()
def through_codec(model: VideoModel, frames: Frames, decoder: str) -> Frames:
    """Encoded and decoded."""
    pixels = frames.permute(0, 3, 1, 2)[None].to(model.device).float() / 127.5 - 1
    return to_frames(model.decode(model.codec.encode(pixels), pixels[:, 0], decoder))
