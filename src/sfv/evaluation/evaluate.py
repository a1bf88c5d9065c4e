"""The first honest table: generate -> extract -> measure, on one fixed protocol."""

import hashlib
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from sfv.data.stickers import Clip, ClipStore, over_background
from sfv.errors import SfvError
from sfv.evaluation.features import Extractor, extractors
from sfv.families import load
from sfv.families.base import VideoModel
from sfv.generation import generate, to_frames
from sfv.media import contact_sheet, flow, replacing, write_clip, write_picture
from sfv.metrics import Basis, flicker, frechet_distance, psnr
from sfv.settings import Decoder, Settings
from sfv.types import Frames

FRAMES, FPS, DIMS, PER_FAMILY, BASIS_CLIPS = 14, 12, 32, 2, 250


@dataclass(frozen=True)
class Measured:
    """One row of the table. Distances are per z-scored channel, times 1000; motion in pixels per frame."""

    name: str
    calls: int
    seconds: float | None
    unet_seconds: float | None
    frechet: float
    frechet_appearance: float
    frechet_time: float
    motion: float
    motion_to_real: float
    motion_to_teacher: float
    first_frame_psnr: float
    flicker: float


def evaluate(
    data: Path,
    rows: Sequence[str],
    out: Path,
    split: str = "val",
    limit: int = 0,
    weights: Path | None = None,
    decoder: Decoder | None = None,
) -> str:
    """Measure each MODEL:STEPS row against the split's real clips; returns the markdown table.

    Protocol: at most two clips of a family, 14 frames at 12 fps from the rest pose on white, seed 0. Clips made
    are kept under `out`/clips, so a run that was cut off goes on.
    """
    store = ClipStore(data)
    chosen = _choose(store, split, limit)
    nets = extractors(weights)
    out.mkdir(parents=True, exist_ok=True)
    real = [real_frames(store, c) for c in chosen]
    bases = _bases(store, nets)
    made = {row: _generate_row(row, store, chosen, out / "clips", decoder) for row in rows}
    subject = load(rows[-1].rpartition(":")[0])
    coded = through_codec(subject, real, subject.decoder(decoder))
    true = _features(real, nets, bases, "real")
    still = [r[:1].expand(len(r), -1, -1, -1) for r in real]
    rest = {"real clips": real, "codec alone": coded, "still picture": still} | {k: v[0] for k, v in made.items()}
    teacher = made[rows[0]][0]
    table = [
        _measure(n, c, made.get(n, (c, {}))[1], real, teacher, true, _features(c, nets, bases, n))
        for n, c in rest.items()
    ]
    how = {"split": split, "clips": len(chosen), "frames": FRAMES, "fps": FPS, "decoder": subject.decoder(decoder)}
    how |= fidelity(subject, real)
    return _publish(table, rest, chosen, out, how)


def _choose(store: ClipStore, split: str, limit: int) -> list[Clip]:
    """At most PER_FAMILY clips of each family, spread over its variants."""
    families: dict[str, list[Clip]] = defaultdict(list)
    for clip in store.split(split):
        families[clip.family].append(clip)
    if not families:
        raise SfvError(f"{store.folder} has no clips of split {split!r}; use train or val")
    picked = []
    for members in families.values():
        keep = min(PER_FAMILY, len(members))
        picked += [members[i * len(members) // keep] for i in range(keep)]
    return picked[:limit] if limit else picked


def real_frames(store: ClipStore, clip: Clip) -> Frames:
    """The protocol's window of a real clip."""
    rgba = store.rgba(clip, 0, FRAMES, store.fps // FPS)
    return to_frames(over_background(rgba, torch.ones(3, store.size, store.size))[None])


@torch.inference_mode()
def through_codec(model: VideoModel, clips: Sequence[Frames], decoder: str) -> list[Frames]:
    """Each clip encoded and decoded: what no denoiser over this codec can exceed."""
    pixels = (c.permute(0, 3, 1, 2)[None].to(model.device).float() / 127.5 - 1 for c in clips)
    return [to_frames(model.decode(model.codec.encode(p), decoder)) for p in pixels]


def fidelity(model: VideoModel, clips: Sequence[Frames]) -> dict[str, float]:
    """Mean PSNR of clips through the codec, dB, for each decoder that the model has."""
    names = ("full",) if model.small is None else ("full", "small")
    coded = {n: through_codec(model, clips, n) for n in names}
    return {f"psnr_{n}": round(statistics.fmean(map(psnr, c, clips)), 2) for n, c in coded.items()}


def _bases(store: ClipStore, nets: dict[str, Extractor]) -> dict[str, Basis]:
    """Axes from training clips, families evenly: fixed, and independent of what is judged."""
    seen: dict[str, Clip] = {}
    for clip in store.split("train"):
        seen.setdefault(clip.family, clip)
    clips = [real_frames(store, c) for c in list(seen.values())[:BASIS_CLIPS]]
    rows = {k: torch.stack([net(c) for c in tqdm(clips, desc=f"{k} basis")]) for k, net in nets.items()}
    return {k: Basis(v, DIMS) for k, v in rows.items()}


def _features(
    clips: list[Frames], nets: dict[str, Extractor], bases: dict[str, Basis], name: str
) -> dict[str, torch.Tensor]:
    return {k: bases[k](torch.stack([net(c) for c in tqdm(clips, desc=f"{name} {k}")])) for k, net in nets.items()}


def _generate_row(
    row: str, store: ClipStore, chosen: list[Clip], kept: Path, decoder: Decoder | None = None
) -> tuple[list[Frames], dict[str, Any]]:
    """All clips of one MODEL:STEPS row, from disk where an earlier run left them."""
    name, _, steps = row.rpartition(":")
    if not name or not steps.isdigit():
        raise SfvError(f"row {row!r} must be MODEL:STEPS, such as sticker:1")
    model = load(name)
    settings = Settings(steps=int(steps), fps=FPS, frames=FRAMES, decoder=decoder)
    digest = hashlib.sha256(f"{model.hash}{settings}{model.defaults}".encode()).hexdigest()[:12]
    folder = kept / f"{Path(name).name}-{steps}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    clips, times, unet, calls = [], [], [], 0
    generate(model, real_frames(store, chosen[0])[0], settings.model_copy(update={"steps": 1}))
    for clip in tqdm(chosen, desc=row, unit="clip"):
        path = folder / f"{clip.id}.safetensors"
        if not path.exists():
            _keep(path, _timed(lambda c=clip: generate(model, real_frames(store, c)[0], settings)))  # type: ignore[misc]
        tensors = load_file(path)
        clips.append(tensors["frames"])
        times.append(float(tensors["seconds"]))
        unet.append(float(tensors["unet"]))
        calls = int(tensors["calls"])
    return clips, {
        "calls": calls,
        "seconds": statistics.median(times),
        "unet_seconds": statistics.median(unet),
    }


def _timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    clip = make()
    return clip, time.perf_counter() - start


def _keep(path: Path, made: tuple[Any, float]) -> None:
    clip, seconds = made
    numbers = {"seconds": seconds, "unet": clip.seconds["unet"], "calls": clip.calls}
    with replacing(path) as beside:
        save_file({"frames": clip.frames} | {k: torch.tensor(float(v)) for k, v in numbers.items()}, beside)


def _measure(
    name: str,
    clips: list[Frames],
    cost: dict[str, Any],
    real: list[Frames],
    teacher: list[Frames],
    true: dict[str, torch.Tensor],
    rows: dict[str, torch.Tensor],
) -> Measured:
    parts = {k: 1000 * frechet_distance(rows[k], true[k]) for k in rows}
    speed = [[float(flow(c).mean()) for c in group] for group in (clips, real, teacher)]
    ratio = [statistics.median(m / max(o, 1e-3) for m, o in zip(speed[0], other, strict=True)) for other in speed[1:]]
    first = [psnr(c[0], r[0]) for c, r in zip(clips, real, strict=True)]
    return Measured(
        name=name,
        calls=cost.get("calls", 0),
        seconds=cost.get("seconds"),
        unet_seconds=cost.get("unet_seconds"),
        frechet=(parts["appearance"] + parts["time"]) / 2,
        frechet_appearance=parts["appearance"],
        frechet_time=parts["time"],
        motion=statistics.fmean(speed[0]),
        motion_to_real=ratio[0],
        motion_to_teacher=ratio[1],
        first_frame_psnr=statistics.median(first),
        flicker=statistics.fmean(flicker(c) for c in clips),
    )


def _publish(
    table: list[Measured], clips: dict[str, list[Frames]], chosen: list[Clip], out: Path, how: dict[str, Any]
) -> str:
    """Write JSON, markdown, contact sheets and example clips; return the markdown."""
    decoders = ", ".join(f"{v:.1f} dB with the {k[5:]} decoder" for k, v in how.items() if k.startswith("psnr_"))
    text = f"{markdown(table)}\n\nCodec alone over whole clips: {decoders}."
    with replacing(out / "table.json") as path:
        path.write_text(json.dumps({"protocol": how, "rows": [asdict(m) for m in table]}, indent=1) + "\n")
    with replacing(out / "table.md") as path:
        path.write_text(text + "\n")
    shown = [i * len(chosen) // 6 for i in range(6)]
    for i in shown:
        rows = [(name, group[i]) for name, group in clips.items() if name != "still picture"]
        write_picture(contact_sheet(rows), out / f"sheet-{chosen[i].id}.png")
    names = [n for n in clips if n not in ("still picture", "codec alone")]
    strips = [(f"{chosen[i].name or chosen[i].id}: {n}", clips[n][i]) for i in shown[:3] for n in names]
    write_picture(contact_sheet(strips), out / "contact-sheet.png")
    write_clip(torch.cat([clips[names[-1]][i] for i in shown], 2), out / "examples.webp", FPS)
    return text


def markdown(table: Sequence[Measured]) -> str:
    """The table for people."""
    columns = ["model:steps", "calls", "s/clip", "UNet s", "Frechet", "appearance", "time"]
    head = "| " + " | ".join([*columns, "motion/real", "motion/teacher", "1st frame dB"]) + " |"
    lines = [head, "|---" * 10 + "|"]
    for m in table:
        seconds = ["-" if v is None else f"{v:.2f}" for v in (m.seconds, m.unet_seconds)]
        numbers = [f"{v:.1f}" for v in (m.frechet, m.frechet_appearance, m.frechet_time)]
        ratios = [f"{m.motion_to_real:.2f}", f"{m.motion_to_teacher:.2f}", f"{m.first_frame_psnr:.1f}"]
        lines.append("| " + " | ".join([m.name, str(m.calls), *seconds, *numbers, *ratios]) + " |")
    return "\n".join(lines)
