"""The full-size goals beside what was measured, as one table; what was not measured says so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = dict[str, Any]
Value = Callable[[Found], float | None]
MISSING = "not measured"

GOALS: tuple[tuple[str, str, str, str, Value], ...] = (
    ("G1", "fast profile / diffusers' 25 guided steps", "60x", "100x", lambda r: _times(r, "B25", "fast")),
    ("G2", "exact profile / diffusers' 25 guided steps", "20x", "30x", lambda r: _times(r, "B25", "exact")),
    ("G3", "exact profile / diffusers' 1 step", "2.5x", "3.5x", lambda r: _times(r, "B1", "exact")),
    ("G4", "UNet / same-run floor", "2.1x", "1.6x", lambda r: _over(r, "unet")),
    ("G5", "full decoder / same-run floor", "2.8x", "2.0x", lambda r: _over(r, "decode")),
    ("G6", "rewrites, relative error, float32", "1e-5", "", lambda r: r["rewrites"]["float32"]),
    ("G7", "exact profile's error / diffusers' in bfloat16, pixels", "1.2x", "", lambda r: _worse(r, "pixels")),
    ("G7", "the same of latents", "1.2x", "", lambda r: _worse(r, "latents")),
    ("G8", "svd-80gb step, naive / shared", "1.7x", "2.4x", lambda r: _steps(r, "naive and codec")),
    ("G8", "the same, latents precomputed for both", "", "", lambda r: _steps(r, "naive")),
    ("G8", "svd-80gb, share of 989 TFLOP/s", "", "38 %", lambda r: _train(r, "svd-80gb")["mfu"]["shared"]),
    ("", "svd-24gb, peak memory, GB", "22", "20", lambda r: _train(r, "svd-24gb")["peak_gb"]),
)
"""Name, what, must, hoped for, value."""


def table(folder: Path) -> str:
    """Markdown of every goal from the JSON files in a folder; stages and training below where there are some."""
    found = read(folder)
    lines = ["| goal | figure | must | hoped for | measured |", "|---|---|---|---|---|"]
    for name, what, must, hoped, value in GOALS:
        lines.append(f"| {name} | {what} | {must} | {hoped} | {shown(value, found, must or hoped)} |")
    extra = [stages(found["stages"])] if "stages" in found else []
    return "\n\n".join(["\n".join(lines), *extra, machine(found)])


def read(folder: Path) -> Found:
    """Part -> its result, for every JSON file of a folder."""
    return {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}


def shown(value: Value, found: Found, unit: str) -> str:
    """A figure in its goal's unit."""
    try:
        got = value(found)
    except KeyError:
        return MISSING
    if got is None:  # memory is measured on GPUs alone
        return MISSING
    if unit.endswith("%"):
        return f"{100 * got:.0f} %"
    if "e-" in unit:
        return f"{got:.1e}"
    return f"{got:.2f}{'x' if unit.endswith('x') or not unit else ''}"


def stages(result: Found) -> str:
    """Every stage beside its floor."""
    lines = ["| stage | ms | eager ms | floor ms | over floor | TFLOP | GB |", "|---|---|---|---|---|---|---|"]
    for name, s in result.items():
        if isinstance(s, dict) and "floor" in s:
            times = f"{1e3 * s['events']:.2f} | {1e3 * s['eager']:.2f} | {1e3 * s['floor']:.2f}"
            over = f"{s['events'] / s['floor']:.2f}x" if s["floor"] else "-"
            lines.append(f"| {name} | {times} | {over} | {s['tflop']:.2f} | {s['gb']:.1f} |")
    return "\n".join(lines)


def machine(found: Found) -> str:
    """Where it was measured: every device that the results name; small networks are not SVD."""
    if any(r.get("size", "full") != "full" for r in found.values()):
        return "Small networks, to try the command: these figures mean nothing."
    named = sorted({r["machine"]["device"] for r in found.values() if "machine" in r})
    return f"Measured on {' and '.join(named)}. Random weights." if named else "Nothing was measured."


def _times(found: Found, slow: str, quick: str) -> float:
    wall = found["clips"]["wall"]
    return wall[slow] / wall[quick]


def _over(found: Found, stage: str) -> float:
    one = found["stages"][stage]
    return one["events"] / one["floor"]


def _worse(found: Found, what: str) -> float:
    result = found["errors"]
    ours = [v for k, v in result.items() if k.startswith("exact")]
    return max(v[what] for v in ours) / result["diffusers bf16"][what]


def _train(found: Found, preset: str) -> Found:
    return found[f"train-{preset}"]


def _steps(found: Found, way: str) -> float:
    seconds = _train(found, "svd-80gb")["seconds_per_sample"]
    return seconds[way] / min(v for k, v in seconds.items() if k.startswith("shared"))
