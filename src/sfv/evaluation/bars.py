"""A result as one picture: how far every row is from real clips."""

import html

from sfv.evaluation.candidates import BASELINES, REAL
from sfv.evaluation.table import Measured

WIDE, HIGH, RIGHT = 520, 34, 60
LETTER = 7
"""Pixels of a letter at most, on average, at the text's size."""
MADE, MOVED = "#fb8500", "#8ecae6"
"""Rows that a model made, and those that none made."""
TEXT = 'style="font: 13px system-ui, sans-serif; fill: #222"'
"""On each text, so that no rule of a page around it wins."""


def bars(rows: list[Measured], clips: int) -> str:
    """SVG: a bar for every row but the real clips, the farthest first: mean Frechet distance with its 95 % interval."""
    shown = sorted((r for r in rows if r.name != REAL), key=lambda r: -r.frechet["mean"]["value"])
    scale = WIDE / max([r.frechet["mean"]["high"] for r in shown if r.frechet["mean"]["high"] > 0], default=1.0)
    left = 16 + LETTER * max((len(_label(r)) for r in shown), default=0)
    parts = [
        f'<text x="8" y="20" {TEXT}>Distance from {clips} real clips (shorter is nearer); lines: 95 % intervals</text>'
    ]
    for i, row in enumerate(shown):
        parts += _bar(row, left, 36 + i * HIGH, scale)
    size = f'width="{left + WIDE + RIGHT}" height="{40 + len(shown) * HIGH}"'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{ground}{"".join(parts)}</svg>'


def _label(row: Measured) -> str:
    return row.name + (f" ({row.calls} call{'s' * (row.calls != 1)})" if row.calls else "")


def _bar(row: Measured, left: int, top: int, scale: float) -> list[str]:
    value, low, high = (row.frechet["mean"][k] * scale for k in ("value", "low", "high"))
    middle, colour = top + (HIGH - 10) / 2, MOVED if row.name in BASELINES else MADE
    number = f"{row.frechet['mean']['value']:.0f}"
    return [
        f'<text x="{left - 8}" y="{middle + 5}" text-anchor="end" {TEXT}>{html.escape(_label(row))}</text>',
        f'<rect x="{left}" y="{top}" width="{value:.1f}" height="{HIGH - 10}" fill="{colour}"/>',
        f'<line x1="{left + low:.1f}" y1="{middle}" x2="{left + high:.1f}" y2="{middle}" stroke="#333"/>',
        f'<text x="{left + max(high, value) + 8:.1f}" y="{middle + 5}" {TEXT}>{number}</text>',
    ]
