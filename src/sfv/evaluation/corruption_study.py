"""`sfv study`: which network sees which fault. Real clips are spoilt by degrees and measured against themselves whole.

A network sees a fault if its distance rises with every degree; how strongly, is given in multiples of the mean distance
between two random halves of the real clips, which is what chance alone gives.
"""

import html
import json
import zlib
from functools import partial
from pathlib import Path

import torch

from sfv.evaluation.extract import one_thread, rows_of
from sfv.evaluation.reference import HALVINGS, Reference, open_reference
from sfv.evaluation.settings import EvaluateSettings, StudySettings
from sfv.measures.corruptions import FAULTS
from sfv.measures.distances import frechet_distance
from sfv.media import replacing
from sfv.system.files import not_in_the_way
from sfv.types import Frames

DEGREES = (0.25, 0.5, 0.75, 1.0)
INK = ("#1b6ca8", "#c0392b", "#27ae60", "#8e44ad", "#d68910", "#16a085", "#7f8c8d", "#2c3e50")
Table = dict[str, dict[str, list[float]]]
"""Network -> fault -> distance at 0 and at each degree."""


def study(data: Path, settings: StudySettings) -> str:
    """Measure every fault at every degree; writes study.json, study.md and study.svg; returns the markdown."""
    not_in_the_way(
        settings.out / "study.json", {"protocol", "seen_by"}, [settings.out / f"study.{e}" for e in ("md", "svg")]
    )
    shared = settings.model_dump(include={"protocol", "limit", "weights", "workers"})
    reference = open_reference(data, EvaluateSettings(**shared))
    floors = reference.half_to_half()
    table: Table = {k: {} for k in reference.nets}
    for fault in FAULTS:
        for kind, distances in _distances(fault, reference).items():
            table[kind][fault] = [0.0, *distances]
    found = {
        "protocol": reference.identity(),
        "degrees": [0.0, *DEGREES],
        "real_half_to_half": floors,
        "halvings": HALVINGS,
        "distance": table,
        "seen_by": seen_by(table),
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    text = markdown(table, floors)
    for name, content in (("json", json.dumps(found, indent=1)), ("md", text), ("svg", drawing(table, floors))):
        with replacing(settings.out / f"study.{name}") as beside:
            beside.write_text(content + "\n")
    return text


def _distances(fault: str, reference: Reference) -> dict[str, list[float]]:
    """Of every degree, by network."""
    found: dict[str, list[float]] = {k: [] for k in reference.nets}
    for degree in DEGREES:
        spoilt = partial(_spoilt, reference, fault, degree)
        rows, _ = rows_of(reference.nets, spoilt, len(reference.real.clips), reference.workers, fault)
        with one_thread():
            for kind, axes in reference.axes.items():
                found[kind].append(reference.scale(kind) * frechet_distance(axes(rows[kind]), reference.true[kind]))
    return found


def _spoilt(reference: Reference, fault: str, degree: float, i: int) -> Frames:
    clip = reference.real.clips[i]
    return spoil(clip.read(), fault, degree, clip.id)


def spoil(frames: Frames, fault: str, degree: float, name: str) -> Frames:
    """The same for the same name: what is shuffled or shaken at half the degree is shuffled or shaken at the whole."""
    return FAULTS[fault](frames, degree, torch.Generator().manual_seed(zlib.crc32(f"{fault}/{name}".encode())))


def seen_by(table: Table) -> dict[str, list[str]]:
    """Fault -> the networks whose distance rises with every degree."""

    def rises(line: list[float]) -> bool:
        return all(a < b for a, b in zip(line, line[1:], strict=False))

    return {fault: [k for k, lines in table.items() if rises(lines[fault])] for fault in FAULTS}


def markdown(table: Table, floors: dict[str, float]) -> str:
    """Distances at each degree in multiples of real half against real half, and who rises throughout."""
    kinds, seen = list(table), seen_by(table)
    steps = ", ".join(f"{d:g}" for d in DEGREES)
    lines = [f"| fault | {' | '.join(f'{k} at {steps}' for k in kinds)} | rises in |", "|---" * (len(kinds) + 2) + "|"]
    for fault in FAULTS:
        cells = [" / ".join(f"{v / floors[k]:.2f}" for v in table[k][fault][1:]) for k in kinds]
        lines.append(f"| {fault} | {' | '.join(cells)} | {', '.join(seen[fault]) or 'none'} |")
    return "\n".join(lines)


def drawing(table: Table, floors: dict[str, float]) -> str:
    """SVG: a panel for every network, a line for every fault, root scale."""
    width, height = 330, 300
    panels = [_panel(k, lines, floors[k], i * width, width, height) for i, (k, lines) in enumerate(table.items())]
    keys = [
        f'<text x="{20 + i % 4 * 150}" y="{height + 24 + 20 * (i // 4)}" fill="{colour}">&#9632; {f}</text>'
        for i, (f, colour) in enumerate(zip(FAULTS, INK, strict=True))
    ]
    size = f'width="{max(width * len(table), 640)}" height="{height + 60}"'
    style = '<style>text { font: 13px system-ui, sans-serif; }</style><rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(panels + keys)}</svg>'


def _panel(kind: str, lines: dict[str, list[float]], floor: float, left: int, width: int, height: int) -> str:
    top = max(max(v) for v in lines.values()) / floor or 1.0

    def place(i: int, v: float) -> tuple[float, float]:
        return left + 40 + i * (width - 60) / len(DEGREES), height - 30 - (v / floor / top) ** 0.5 * (height - 70)

    parts = [f'<text x="{left + 40}" y="20" font-weight="600">{html.escape(kind)}: to {top:.3g} x floor</text>']
    for colour, line in zip(INK, lines.values(), strict=True):
        at = " ".join("{:.1f},{:.1f}".format(*place(i, v)) for i, v in enumerate(line))
        parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="2"/>')
    one = place(0, floor)[1]
    if top > 1:
        ends = f'x1="{left + 40}" x2="{left + width - 20}" y1="{one:.0f}" y2="{one:.0f}"'
        parts.append(f'<line {ends} stroke="#999" stroke-dasharray="4"/>')
    for i, degree in enumerate((0.0, *DEGREES)):
        parts.append(f'<text text-anchor="middle" x="{place(i, 0)[0]:.0f}" y="{height - 10}">{degree:g}</text>')
    return "".join(parts)
