"""Results of a bench: tables, pictures, and earlier ones to compare with."""

import html
import json
from pathlib import Path
from typing import Any

from sfv.bench.systems import STAGES
from sfv.errors import SfvError

INK = ("#c9d6df", "#8ecae6", "#219ebc", "#1b6ca8", "#ffb703", "#fb8500", "#b0b0b0")
"""Of the stages but the total."""
WIDEST = 7
"""Pixels of a letter of a name, at most as a mean."""


def read_bench(path: Path, asked: dict[str, str]) -> dict[str, Any]:
    """An earlier result; SfvError if it is none, or of another picture or other settings."""
    try:
        found = dict(json.loads(path.read_text()))
        before, _ = found["asked"], found["models"][0]["median"]["total"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SfvError(f"{path} is not a result of `sfv bench` ({error!r}); name its JSON file") from error
    for key, mine in asked.items():
        if before.get(key) != mine:
            raise SfvError(f"{path} was timed with another {key} ({before.get(key)}, here {mine}); time both alike")
    return found


def compared(result: dict[str, Any], earlier: dict[str, Any]) -> str:
    """A line for every model that both results have; seconds of another machine are not compared, ratios are."""
    before = {m["model"]: m for m in earlier["models"]}
    alike = result["machine"] == earlier["machine"]
    lines = ["Against the earlier result:" if alike else "Against the earlier result, from another machine:"]
    for m in result["models"]:
        if m["model"] in before:
            then = before[m["model"]]
            both = [k for k in STAGES if k in then["median"]]
            stages = ", ".join(f"{k} {then['median'][k]:.3f} -> {m['median'][k]:.3f}" for k in both)
            ratios = f"total {then['times']['total']:.1f}x -> {m['times']['total']:.1f}x of the first model"
            lines.append(f"- {m['model']}: {f'{stages} s; ' if alike else ''}{ratios}")
    return "\n".join(lines)


def markdown(result: dict[str, Any]) -> str:
    """One line per model: how it computes, median seconds of every stage, and how many times the subject's."""
    head = ["model", "precision", "guidance", "calls", *STAGES, "p95", "cold", "MB", "GFLOP", "UNet x", "total x"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for m in result["models"]:
        seconds = [f"{m['median'][k]:.3f}" for k in STAGES]
        ratios = [f"{m['times'][k]:.1f}" for k in ("unet", "total")]
        once = f"{m['cold']['load'] + m['cold']['first']:.2f}"
        held = str(m["peak_cuda_mb"] or m["peak_rss_mb"] or "-")
        cells = [
            m["model"],
            m["precision"],
            f"{m['guidance']:g}",
            str(m["calls"]),
            *seconds,
            f"{m['p95']['total']:.3f}",
            once,
            held,
        ]
        lines.append("| " + " | ".join([*cells, f"{m['flops'] / 1e9:.0f}", *ratios]) + " |")
    return "\n".join(lines)


def drawing(result: dict[str, Any]) -> str:
    """SVG: a bar for every model, its median seconds stacked by stage, on one scale."""
    models, shown = result["models"], STAGES[:-1]
    names = [f"{m['model']} ({m['calls']} call{'s' * (m['calls'] != 1)})" for m in models]
    left, wide, high = max(300, 20 + WIDEST * max(map(len, names))), 560, 40
    longest = max(m["median"]["total"] for m in models)
    parts = []
    for i, m in enumerate(models):
        x, top = float(left), 20 + i * high
        for colour, stage in zip(INK, shown, strict=True):
            width = max(0.0, m["median"][stage]) / longest * wide
            parts.append(f'<rect x="{x:.1f}" y="{top}" width="{width:.2f}" height="{high - 14}" fill="{colour}"/>')
            x += width
        label = f"{m['median']['total']:.2f} s, {m['times']['total']:.1f}x"
        parts.append(f'<text x="{left - 8}" y="{top + 18}" text-anchor="end">{html.escape(names[i])}</text>')
        parts.append(f'<text x="{x + 8:.1f}" y="{top + 18}">{label}</text>')
    for k, (colour, stage) in enumerate(zip(INK, shown, strict=True)):
        at, y = left + k * 80, 34 + len(models) * high
        parts.append(f'<rect x="{at}" y="{y}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{at + 16}" y="{y + 10}">{stage}</text>')
    size = f'width="{left + wide + 130}" height="{60 + len(models) * high}"'
    style = '<style>text { font: 13px system-ui, sans-serif; }</style><rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(parts)}</svg>'
