"""A result as one picture: how far every row is from real clips."""

import html

from sfv.evaluation.candidates import BASELINES, REAL
from sfv.evaluation.table import Measured

LEFT, WIDE, HIGH, RIGHT = 190, 520, 34, 60
MADE, MOVED = "#fb8500", "#8ecae6"
"""Rows that a model made, and those that none made."""


def bars(rows: list[Measured], clips: int) -> str:
    """SVG: a bar for every row but the real clips, the farthest first: mean Frechet distance with its 95 % interval."""
    shown = sorted((r for r in rows if r.name != REAL), key=lambda r: -r.frechet["mean"]["value"])
    scale = WIDE / max([r.frechet["mean"]["high"] for r in shown], default=1.0)
    parts = [f'<text x="8" y="20">Distance from {clips} real clips (shorter is nearer); lines: 95 % intervals</text>']
    for i, row in enumerate(shown):
        parts += _bar(row, 36 + i * HIGH, scale)
    size = f'width="{LEFT + WIDE + RIGHT}" height="{40 + len(shown) * HIGH}"'
    style = '<style>text { font: 13px system-ui, sans-serif; }</style><rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(parts)}</svg>'


def _bar(row: Measured, top: int, scale: float) -> list[str]:
    value, low, high = (row.frechet["mean"][k] * scale for k in ("value", "low", "high"))
    middle, colour = top + (HIGH - 10) / 2, MOVED if row.name in BASELINES else MADE
    calls = f" ({row.calls} call{'s' * (row.calls != 1)})" if row.calls else ""
    return [
        f'<text x="{LEFT - 8}" y="{middle + 5}" text-anchor="end">{html.escape(row.name)}{calls}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{value:.1f}" height="{HIGH - 10}" fill="{colour}"/>',
        f'<line x1="{LEFT + low:.1f}" y1="{middle}" x2="{LEFT + high:.1f}" y2="{middle}" stroke="#333"/>',
        f'<text x="{LEFT + max(high, value) + 8:.1f}" y="{middle + 5}">{row.frechet["mean"]["value"]:.0f}</text>',
    ]
