"""What a model needs before anything is rented or downloaded: arithmetic and memory counted, time and money predicted.

Counted on the meta device from configuration files alone. Predictions are counts divided by rates that a time model
of single operations gave for one H100; no GPU has confirmed them, and every table says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from sfv.costs.counting import count
from sfv.costs.settings import AccountSettings
from sfv.costs.training import Counted, accounts, is_counted
from sfv.errors import SfvError
from sfv.families.counted import Call, Role, Shapes
from sfv.families.load import described
from sfv.settings import split_size
from sfv.training.presets import PRESETS

GB, TERA = 1e9, 1e12
CARDS: dict[str, tuple[float, float, float]] = {
    "h100": (989, 80, 2.5),
    "h200": (989, 141, 3.5),
    "a100": (312, 80, 1.6),
    "l40s": (362, 48, 1.0),
    "rtx4090": (165, 24, 0.5),
}
"""TFLOP/s in bf16 (makers' data sheets, dense), GB, and dollars an hour (our assumption: prices change weekly)."""
RATES: dict[str, tuple[float, float, float]] = {
    "diffusers, eager": (89, 245, 126),
    "rewrites, compiled": (235, 400, 316),
    "own kernels": (327, 480, 390),
}
"""Predicted TFLOP/s on an H100 for encoding, UNet and decoding; other cards in proportion to their arithmetic."""
H100 = CARDS["h100"][0]
SHARES = {"eager": 0.24, "compiled": 0.40}
"""Predicted shares of a card's arithmetic that training reaches, what is computed again included."""
RANKS = {"svd-paper": 8, "svd-8x24gb": 8}
"""Cards that a preset is meant for, by fsdp, where it is not one."""
SIDE = 8192
"""Pixels beyond which a size is a slip of the pen."""


class Part(BaseModel):
    """One network and one call of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    parameters: int
    weights_gb: float
    tflop: float
    """As diffusers computes it."""
    tflop_rewritten: float
    """As `sfv generate` does, the same numbers."""
    working_gb: float
    """The most beside weights, as `sfv generate` does it, in 16 bits."""


class Way(BaseModel):
    """One way to a clip, predicted."""

    model_config = ConfigDict(frozen=True)

    name: str
    seconds: float
    dollars_per_1000: float


class Run(BaseModel):
    """One preset's training on one kind of card."""

    model_config = ConfigDict(frozen=True)

    preset: str
    cards: int
    peak_gb: float
    """On each card, in the hungriest stage."""
    fits: bool
    checkpoint_gb: float
    """On disk, whatever the number of cards; of runs with several stages the largest."""
    host_gb: float
    """Of the host's memory: what the rank that saves holds there."""
    tflop_per_sample: float
    samples: int
    hours: tuple[float, float]
    """Predicted, of wall clock: compiled and eager."""
    dollars: tuple[float, float]


class Account(BaseModel):
    """All of it."""

    model_config = ConfigDict(frozen=True)

    model: str
    frames: int
    height: int
    width: int
    train_size: tuple[int, int]
    card: str
    price: float
    parts: tuple[Part, ...]
    paths: tuple[Way, ...]
    runs: tuple[Run, ...]
    predicted: str = "seconds, hours and dollars are predictions; no GPU has confirmed them"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def peak_gb(self) -> float:
        """Of making a clip: all weights, and the hungriest part."""
        return sum(p.weights_gb for p in self.parts) + max(p.working_gb for p in self.parts)

    def text(self) -> str:
        """Three tables for people."""
        tflops, memory, _ = CARDS[self.card]
        return "\n".join(
            [
                f"{self.model}: {self.frames} frames of {self.height}x{self.width}, counted; no weights were opened",
                *_parts_table(self.parts),
                f"a clip in 16 bits: {self.peak_gb:.1f} GB at the peak",
                "",
                f"PREDICTED on one {self.card} ({tflops:g} TFLOP/s, {memory:g} GB, ${self.price:g} an hour), networks "
                "alone; no GPU has confirmed it",
                *_table(("path", "s/clip", "$/1000 clips"), [_way_row(p) for p in self.paths]),
                *_runs_table(self.runs, self.train_size),
            ]
        )


def account(settings: AccountSettings | None = None, **changes: Any) -> Account:
    """Count a model's clip and its training; `changes` are fields of AccountSettings, as in account(card="a100").

    Raises SfvError for a model, size or preset that is not there.
    """
    want = AccountSettings.model_validate((settings or AccountSettings()).model_dump() | changes)
    for name in want.presets:
        counted_stages(name)
    described_shapes = described(want.model)
    shapes = _sized(described_shapes, want.size or _text(described_shapes.generates()), want.frames)
    lesson = _sized(
        described_shapes, want.train_size or _text((described_shapes.height, described_shapes.width)), want.frames
    )
    parts = count_clip(shapes)
    price = want.price or CARDS[want.card][2]
    return Account(
        model=want.model,
        frames=shapes.frames,
        height=shapes.height,
        width=shapes.width,
        train_size=(lesson.height, lesson.width),
        card=want.card,
        price=price,
        parts=tuple(p for _, p in parts),
        paths=tuple(predict_clips(parts, want.card, price)),
        runs=tuple(predict_training(lesson, name, want.card, price) for name in want.presets),
    )


def count_clip(shapes: Shapes) -> list[tuple[Role, Part]]:
    """Every network's call for one clip without guidance, and the denoiser's with it."""
    return [(call.role, _part(call)) for call in shapes.calls()]


def predict_clips(parts: Sequence[tuple[Role, Part]], card: str, price: float) -> list[Way]:
    """One step, and 25 guided ones, by each set of rates; the first alone where nothing is rewritten."""
    work = {role: sum(p.tflop for r, p in parts if r == role) for role, _ in parts}
    same = all(p.tflop == p.tflop_rewritten for _, p in parts)
    ways = []
    for way, (enter, middle, leave) in list(RATES.items())[: 1 if same else None]:
        ends = work["enter"] / enter + work["leave"] / leave
        for name, called in (("1 step", work["step"]), ("25 guided steps", 25 * work["guided"])):
            seconds = (ends + called / middle) * H100 / CARDS[card][0]
            figures = {"seconds": _rounded(seconds, 3), "dollars_per_1000": _rounded(seconds / 3.6 * price, 3)}
            ways.append(Way(name=f"{name}, {way}", **figures))
    return ways


def predict_training(shapes: Shapes, preset: str, card: str, price: float) -> Run:
    """One preset's student (else teacher) on clips of these shapes."""
    stages, ranks = counted_stages(preset), RANKS.get(preset, 1)
    counted = accounts(shapes, stages, ranks)
    samples = sum(c.steps * c.accumulate * c.clips for c in stages)
    work = sum(c.steps * one.flops for c, one in zip(stages, counted, strict=True))
    peak = max(one.peak for one in counted)
    tflops, memory, _ = CARDS[card]
    low, high = sorted(work / (share * tflops * TERA) / 3600 for share in SHARES.values())
    return Run(
        preset=preset,
        cards=ranks,
        peak_gb=_rounded(peak / GB, 2),
        fits=peak <= memory * GB,
        checkpoint_gb=_rounded(max(one.state for one in counted) / GB, 2),
        host_gb=_rounded(max(one.host for one in counted) / GB, 2),
        tflop_per_sample=_rounded(work / TERA / samples, 1),
        samples=ranks * samples,
        hours=(_rounded(low, 1), _rounded(high, 1)),
        dollars=(_rounded(ranks * price * low, 0), _rounded(ranks * price * high, 0)),
    )


def counted_stages(preset: str) -> list[Counted]:
    """Of a preset's student, else teacher. SfvError where there is none, or a stage that is not counted."""
    parts = PRESETS.get(preset, {})
    stages = parts.get("student") or parts.get("teacher")
    if not stages:
        raise SfvError(f"preset {preset!r} trains no student or teacher; choose from {', '.join(PRESETS)}")
    counted = [s for s in stages if is_counted(s)]
    if len(counted) < len(stages):
        odd = next(s for s in stages if not is_counted(s))
        raise SfvError(f"preset {preset!r} has a {type(odd).__name__}, which is not counted; choose another")
    return counted


def _rounded(value: float, places: int) -> float:
    """To so many places, but at least to two digits that are not 0: small models have small figures."""
    return max(round(value, places), float(f"{value:.2g}")) if value < 10 ** (1 - places) else round(value, places)


def _shown(value: float, places: int) -> str:
    """As `_rounded`, with zeros at the end."""
    return f"{value:.{places}f}" if value >= 10 ** (1 - places) else f"{value:.2g}"


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _sized(shapes: Shapes, size: str, frames: int | None) -> Shapes:
    """With another size and length, checked."""
    height, width = split_size(size)
    if height % shapes.stride or width % shapes.stride or max(height, width) > SIDE:
        raise SfvError(f"size {size} must be multiples of {shapes.stride} up to {SIDE}; try 576x1024")
    sized: Shapes = replace(shapes, height=height, width=width, frames=frames or shapes.frames)  # type: ignore[type-var]
    return sized


def _part(call: Call) -> Part:
    """From a call's network, and the call as diffusers and as we make it."""
    parameters = sum(p.numel() for p in call.network.parameters())
    (plain, _), (rewritten, working) = count(call.plain), count(call.rewritten)
    return Part(
        name=call.name,
        parameters=parameters,
        weights_gb=0 if call.role == "guided" else 2 * parameters / GB,
        tflop=plain / TERA,
        tflop_rewritten=rewritten / TERA,
        working_gb=working / GB,
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, the first to the left and the others to the right."""
    wide = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [[cell.rjust(w) for cell, w in zip(row, wide, strict=True)] for row in (head, *rows)]
    return ["  ".join([row[0].ljust(wide[0]), *line[1:]]) for row, line in zip((head, *rows), lines, strict=True)]


def _parts_table(parts: Sequence[Part]) -> list[str]:
    head = "part", "million weights", "GB", "TFLOP", "rewritten", "working GB"
    rows = []
    for p in parts:
        figures = [_shown(v, 2) for v in (p.weights_gb, p.tflop, p.tflop_rewritten, p.working_gb)]
        rows.append([p.name, _shown(p.parameters / 1e6, 1), *figures])
    return _table(head, rows)


def _way_row(path: Way) -> tuple[str, str, str]:
    return path.name, _shown(path.seconds, 2), _shown(path.dollars_per_1000, 2)


def _runs_table(runs: Sequence[Run], size: tuple[int, int]) -> list[str]:
    if not runs:
        return []
    head = (
        f"training at {_text(size)}",
        "cards",
        "GB each",
        "checkpoint GB",
        "host GB",
        "TFLOP/clip",
        "clips",
        "hours",
        "$",
    )
    rows = []
    for r in runs:
        memory = _shown(r.peak_gb, 1) + ("" if r.fits else " (too much)")
        spans = [f"{low:g} to {high:g}" for low, high in (r.hours, r.dollars)]
        kept = [_shown(v, 1) for v in (r.checkpoint_gb, r.host_gb)]
        rows.append([r.preset, str(r.cards), memory, *kept, _shown(r.tflop_per_sample, 1), f"{r.samples:,}", *spans])
    return ["", *_table(head, rows)]
