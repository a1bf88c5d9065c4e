"""What is measured: a model with a number of steps, whose clips are made and kept, or a folder of made clips."""

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float16
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from sfv.errors import SfvError
from sfv.evaluation.baselines import MOVED
from sfv.evaluation.features.lpips import lpips
from sfv.evaluation.features.weights import Weights
from sfv.evaluation.origins import Origin, of_files, of_model, of_weights
from sfv.evaluation.protocol import Protocol
from sfv.evaluation.real_clips import ClipSet, RealClip, made_path, read_made, resized
from sfv.families.base import Codec, MovingCodec, VideoModel
from sfv.generation.generate import generate
from sfv.generation.stiff import softness
from sfv.media import replacing
from sfv.media.pixels import as_layers, shown
from sfv.settings import Decoder, Profile, Settings, Speed, split_row, split_speed
from sfv.speed.optimize import open_model
from sfv.system.code_hash import sources
from sfv.types import Frames

REAL, CODED, STILL = "real clips", "codec alone", "still picture"
BACKWARDS, REACHABLE = "real backwards", "backwards, codec"
BASELINES = (REAL, CODED, BACKWARDS, REACHABLE, STILL, *MOVED)
"""Names of the rows that no model makes."""
SLOWEST, FASTEST = 2, 60
"""Frames per second at which a loop can be played."""
MAKERS = (
    *("decoding", "edm", "families", "generation", "kernels", "media", "speed", "system"),
    *("limits.py", "settings.py", "types.py"),
    *(f"evaluation/{name}.py" for name in ("candidates", "protocol", "real_clips")),
)
"""Our modules on which the frames of a made clip, and what its file holds, can depend."""
MadeLatents = Float16[Tensor, "f c y x"]
"""What a network made, at the times of the frames that are measured."""


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
    latents: Callable[[int], MadeLatents] | None = None
    """Of a model's clip, as its network made them."""
    codec: Codec | None = None
    """Whose latents they are; none where clips are not made at the size they are measured."""
    origin: Origin | None = field(default=None, hash=False)
    """Which model made the clips, and how it was asked."""
    others: tuple["Subject", ...] = ()
    """The same from other noise, of protocols with several takes."""

    @property
    def takes(self) -> tuple["Subject", ...]:
        """Itself, then the others."""
        return self, *self.others


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
        return _made_elsewhere(folder, real, protocol)
    title, steps = split_row(row)
    name, speed = split_speed(title, Speed(profile=profile, backend="eager"))
    model = open_model(name, device, speed)
    settings = settings_of(model, protocol, steps, decoder)
    folder = kept / f"{Path(name).name}-{settings.steps}-{kept_key(model, settings, protocol)}"
    title = f"{Path(title).name}:{settings.steps}"
    parts = [_take(title, model, settings, real, protocol, folder, take) for take in range(protocol.takes)]
    apart = seeds_apart(model, settings, real.clips[: protocol.diversity], protocol, folder)
    levels, by_lpips = diversity(apart, judge)
    origin = of_model(model, settings)
    return replace(parts[0], diversity=levels, diversity_lpips=by_lpips, origin=origin, others=tuple(parts[1:]))


def kept_key(model: VideoModel, settings: Settings, protocol: Protocol) -> str:
    """What clips must share to be taken for made: weights, request, the code that makes them, torch and the device."""
    asked = (
        f"{model.hash}{settings.model_dump(exclude_defaults=True)}{model.defaults}{protocol.frames}x"
        f"{protocol.height}x{protocol.width}{model.speed}{sources(*MAKERS)}{torch.__version__}{model.device.type}"
    )
    return hashlib.sha256((asked + protocol.seeds * (protocol.seeds != "one")).encode()).hexdigest()[:12]


def _made_elsewhere(folder: Path, real: ClipSet, protocol: Protocol) -> Subject:
    """A folder of clips; the first is checked now, and that every other is there."""
    origin = of_files(folder.name, [made_path(folder, clip) for clip in real.clips])
    first = list(read_made(folder, real.clips[:1], protocol))
    read = lambda i: first[0] if i == 0 else next(read_made(folder, [real.clips[i]], protocol))  # noqa: E731
    return Subject(folder.name, read, origin=origin)


def _take(
    title: str, model: VideoModel, settings: Settings, real: ClipSet, protocol: Protocol, folder: Path, take: int
) -> Subject:
    """A clip of every picture, from the noise of that take."""

    def kept(i: int, what: str) -> Tensor:
        return _kept(kept_path(folder, real.clips[i], _suffix(take)), what)

    return Subject(
        title,
        lambda i: kept(i, "frames"),
        *make_clips(model, settings, real.clips, protocol, folder, title + _suffix(take), take),
        latents=lambda i: kept(i, "latents"),
        codec=None if protocol.fit == "stretch" else model.codec,
    )


def settings_of(model: VideoModel, protocol: Protocol, steps: int | None, decoder: Decoder | None) -> Settings:
    """How a model is asked for a protocol's clips; SfvError if a loop would play too slowly or too fast for us.

    The network's own motion is measured, as it is shown (stiff things as one body, inside their pictures): no program
    adds to it, as a blink would. A model of whole loops makes its own round at its own rate. It is
    played at the protocol's rate, or, for whole rounds, in as many frames as the protocol measures.
    """
    defaults = model.defaults
    rate = defaults.fps * protocol.frames / defaults.frames if protocol.whole else protocol.fps
    if model.loops and not SLOWEST <= rate <= FASTEST:
        raise SfvError(
            f"protocol {protocol.name!r} would play the loops of {model.name} at {rate:.3g} frames a second; "
            f"{SLOWEST} to {FASTEST} can be made"
        )
    return Settings(
        steps=steps or defaults.steps,
        fps=defaults.fps if model.loops else protocol.fps,
        play_fps=rate if model.loops else None,
        frames=defaults.frames if model.loops else protocol.frames,
        seed=protocol.seed,
        move="free" if model.loops else "auto",
        decoder=decoder,
        height=None if protocol.fit == "stretch" else protocol.height,
        width=None if protocol.fit == "stretch" else protocol.width,
    )


def read_kept(folder: Path, clip: RealClip) -> Frames:
    """A clip that was made before."""
    return _kept(kept_path(folder, clip), "frames")


def _kept(path: Path, what: str) -> Tensor:
    with safe_open(path, "pt") as file:
        found: Tensor = file.get_tensor(what)
    return found


def _suffix(take: int) -> str:
    """In names of files: the first take's have none, as they are kept from evaluations of one."""
    return f"-take{take}" if take else ""


def kept_path(folder: Path, clip: RealClip, suffix: str = "") -> Path:
    """Where a generated clip is kept; its name holds a hash of the picture, so that pictures are never confused."""
    picture = hashlib.sha256(clip.read()[0].numpy().tobytes()).hexdigest()[:8]
    return folder / f"{clip.id}-{picture}{suffix}.safetensors"


def make_clips(
    model: VideoModel,
    settings: Settings,
    clips: Sequence[RealClip],
    protocol: Protocol,
    folder: Path,
    what: str,
    take: int = 0,
) -> tuple[int, float, float]:
    """Make what is not on disk yet; calls of one clip, and the median seconds of the whole and of its network."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [kept_path(folder, c, _suffix(take)) for c in clips]
    todo = [(c, place) for c, place in zip(clips, places, strict=True) if not place.exists()]
    if todo:
        make(model, condition(todo[0][0], model, protocol), settings.model_copy(update={"steps": 1}), protocol)
    for clip, place in tqdm(todo, desc=what, unit="clip"):
        start = time.perf_counter()
        own = settings.model_copy(update={"seed": protocol.seed_of(clip.id, take)})
        clip_made = make(model, condition(clip, model, protocol), own, protocol)
        numbers = {
            "seconds": time.perf_counter() - start,
            "unet": clip_made.unet_seconds,
            "calls": float(clip_made.calls),
        }
        parts = {"frames": clip_made.frames, "latents": clip_made.latents}
        with replacing(place) as beside:
            save_file(parts | {k: torch.tensor(v) for k, v in numbers.items()}, beside)
    costs = [_costs(place) for place in places]
    every, seconds, unets = zip(*costs, strict=True)
    return int(every[0]), statistics.median(seconds), statistics.median(unets)


def _costs(path: Path) -> tuple[float, ...]:
    """Calls, seconds, network's seconds; the frames stay on disk."""
    with safe_open(path, "pt") as file:
        return tuple(float(file.get_tensor(k)) for k in ("calls", "seconds", "unet"))


def condition(clip: RealClip, model: VideoModel, protocol: Protocol) -> torch.Tensor:
    """The condition: the real clip's first frame, at the model's size if the protocol stretches."""
    first = clip.read()[0]
    if protocol.fit != "stretch":
        return first
    return resized(first, model.defaults.height, model.defaults.width, "stretch")


@dataclass(frozen=True)
class Made:
    """What a model made, cut to a protocol's frames and size, and what it cost."""

    frames: Frames
    latents: MadeLatents
    calls: int
    unet_seconds: float


def make(model: VideoModel, picture: torch.Tensor, settings: Settings, protocol: Protocol) -> Made:
    """A clip under a protocol; a loop goes on where the protocol lasts longer than its round."""
    clip = generate(model, picture, settings)
    at = torch.arange(protocol.frames) % len(clip.frames)
    frames = torch.stack([resized(f, protocol.height, protocol.width, "stretch") for f in clip.frames[at]])
    return Made(frames, clip.latents[0].cpu()[at].half(), clip.calls, clip.seconds["unet"])


def seeds_apart(
    model: VideoModel, settings: Settings, clips: Sequence[RealClip], protocol: Protocol, folder: Path
) -> list[list[Frames]]:
    """Each picture's clips from three seeds; the first is the one that is measured."""
    every = []
    for clip in clips:
        takes = [read_kept(folder, clip)]
        for k in (1, 2):
            again = settings.model_copy(update={"seed": (protocol.seed_of(clip.id) + k) % 2**31})
            path = kept_path(folder, clip, f"-seed{again.seed}")
            if not path.exists():
                frames = make(model, condition(clip, model, protocol), again, protocol).frames
                with replacing(path) as beside:
                    save_file({"frames": frames}, beside)
            takes.append(_kept(path, "frames"))
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


def baselines(real: ClipSet, protocol: Protocol, model: VideoModel | None, decoder: Decoder | None) -> list[Subject]:
    """The real clips, the same through the model's codec alone (which gives its fidelity), whole rounds also backwards
    (other true animations of these pictures; through the codec what a perfect denoiser would reach), and the picture:
    still, and moved as one body."""
    rows = [Subject(REAL, lambda i: real.clips[i].read())]
    if model is not None:
        name = model.decoder(decoder)
        whose = of_weights(model, decoder)
        rows.append(Subject(CODED, lambda i: through_codec(model, real.clips[i].read(), name), origin=whose))
    if protocol.whole:
        rows.append(Subject(BACKWARDS, lambda i: backwards(real.clips[i].read())))
    if protocol.whole and model is not None:
        perfect = lambda i: through_codec(model, backwards(real.clips[i].read()), name)  # noqa: E731
        rows.append(Subject(REACHABLE, perfect, origin=whose))
    rows.append(Subject(STILL, lambda i: still(real.clips[i].read())))
    return rows + [Subject(k, partial(moved, k, real, protocol)) for k in MOVED]


def moved(row: str, real: ClipSet, protocol: Protocol, i: int) -> Frames:
    """A clip's picture as the baseline of that name moves it."""
    clip = real.clips[i]
    return MOVED[row](clip.read()[0], protocol, protocol.way(clip.id))


def still(frames: Frames) -> Frames:
    """The first frame, as often as there are frames."""
    return frames[:1].expand(len(frames), -1, -1, -1).contiguous()


def backwards(frames: Frames) -> Frames:
    """A whole round from the same first frame on, the other way round."""
    return torch.cat([frames[:1], frames[1:].flip(0)])


@torch.inference_mode()
def through_codec(model: VideoModel, frames: Frames, decoder: str) -> Frames:
    """Encoded and decoded."""
    pixels = frames.permute(0, 3, 1, 2)[None].to(model.device).float() / 127.5 - 1
    latents, first = model.codec.encode(pixels), pixels[:, 0]
    if isinstance(model.codec, MovingCodec) and model.stiffness is not None:  # as what the model makes is decoded
        bends = softness(float(model.stiffness.judged(as_layers(frames[0], model.device))[0]))
        return shown(model.draw(latents, first, torch.full((1,), bends)).frames)
    return shown(model.decode(latents, first, decoder))
