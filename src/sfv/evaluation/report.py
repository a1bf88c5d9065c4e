"""A result's files: JSON, markdown, LaTeX, a picture of the distances, contact sheets, and one HTML page that needs
nothing else."""

import base64
import html
import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from sfv.evaluation.bars import bars
from sfv.evaluation.candidates import BASELINES, Subject
from sfv.evaluation.clip_metrics import Facts
from sfv.evaluation.reference import Reference
from sfv.evaluation.table import (
    FEWEST,
    RATIOS,
    TOO_FEW,
    Measured,
    Result,
    columns,
    latex,
    ratio_columns,
    remarks,
    second_columns,
)
from sfv.media import contact_sheet, replacing, webp_bytes, write_picture
from sfv.types import Frames

SHOWN, SIDE = 6, 160
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; }
th, td { padding: .3em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .clips { display: flex; gap: 8px; overflow-x: auto; }
figure { margin: 0; text-align: center; font-size: 12px; } figure img { background: #fff; border: 1px solid #ddd; }
svg text { font: 12px system-ui, sans-serif; } .note { color: #666; } h3 { margin-bottom: .3em; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } svg text { fill: #ddd; } }
"""


def publish(
    result: Result,
    subjects: list[Subject],
    reference: Reference,
    seen: dict[str, list[Facts]],
    out: Path,
    earlier: dict[str, Any] | None,
) -> None:
    """Write everything into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    compared = against(result, earlier) if earlier else ""
    text = result.text() + (f"\n\n{compared}" if compared else "")
    _write(out / "table.json", json.dumps(result.as_dict(), indent=1))
    _write(out / "table.md", text)
    _write(out / "table.tex", latex(result.rows))
    _write(out / "distances.svg", bars(result.rows, int(result.protocol["clips"])))
    clips, count = reference.real.clips, len(reference.real.clips)
    shown = [i * count // SHOWN for i in range(min(SHOWN, count))]
    models = [s for s in subjects if s.name not in BASELINES]
    rows = list(dict.fromkeys([subjects[0], models[0], models[-1]]))
    strips = [(f"{clips[i].name or clips[i].id}: {s.name}", s.read(i)) for i in shown for s in rows]
    write_picture(contact_sheet(strips), out / "contact-sheet.png")
    _write(out / "index.html", page(result, subjects, reference, seen, shown, compared))


def _write(path: Path, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text + "\n")


def against(result: Result, earlier: dict[str, Any]) -> str:
    """A sentence for every row that both results have; they are of one protocol."""
    before = {r["name"]: r for r in earlier["rows"]}
    few = int(result.protocol["clips"]) < FEWEST
    lines = []
    for row in result.rows:
        if row.name not in before or row.name in ("real clips", "still picture"):
            continue
        now, was = row.frechet["mean"], before[row.name]["frechet"]["mean"]
        apart = now["high"] < was["low"] or was["high"] < now["low"]
        sure = "the intervals do not meet" if apart else "the intervals meet: no difference shown"
        sure = TOO_FEW if few else sure
        lines.append(f"- {row.name}: {was['value']:.1f} -> {now['value']:.1f} ({sure}){_other(row, before[row.name])}")
    return "\n".join(["Against the earlier result:", *lines])


def _other(row: Measured, before: dict[str, Any]) -> str:
    """What is to be said of a row whose name another model had, as far as the earlier result knows."""
    then, now = ((origin or {}).get("hash") for origin in (before.get("origin"), row.origin))
    return f"; another model of this name: its hash was {then}, here {now}" if then and now and then != now else ""


def page(
    result: Result,
    subjects: list[Subject],
    reference: Reference,
    seen: dict[str, list[Facts]],
    shown: list[int],
    extra: str,
) -> str:
    """Tables with intervals and ratios, quality against seconds, and clips side by side: spread, worst and best."""
    p = result.protocol
    line = f"Protocol {p['name']} ({p['hash']}), {p['clips']} clips of {p['frames']} frames at {p['fps']:g} fps."
    body = [f"<h1>Evaluation</h1><p>{html.escape(line)} <span class=note>{html.escape(p['note'])}.</span></p>"]
    body += [bars(result.rows, int(p["clips"])), _table(*columns(result.rows)), _table(*second_columns(result.rows))]
    body += [f"<p>{html.escape(RATIOS)}</p>", _table(*ratio_columns(result.pairs))] if result.pairs else []
    body += [f"<p class=note>{html.escape(remark)}</p>" for remark in remarks(result.rows)]
    body += [f"<pre>{html.escape(extra)}</pre>"] if extra else []
    body += ["<h2>Quality against seconds</h2>", scatter(result.rows), "<h2>Clips</h2>"]
    for title, places in _chosen(subjects, seen, shown):
        body.append(f"<h3>{html.escape(title)}</h3>")
        body += [_clips(i, subjects, reference) for i in places]
    return f"<!doctype html><meta charset=utf-8><title>sfv evaluate</title><style>{STYLE}</style>{''.join(body)}"


def _chosen(subjects: list[Subject], seen: dict[str, list[Facts]], shown: list[int]) -> list[tuple[str, list[int]]]:
    """Spread over the set; then the last subject's worst and best, by the error that flow does not explain."""
    last = subjects[-1].name
    order = sorted(range(len(seen[last])), key=lambda i: seen[last][i].warp)
    worst = f"Worst of {last} (most change that motion does not explain)"
    return [("Spread over the set", shown), (worst, order[-3:][::-1]), (f"Best of {last}", order[:3])]


def _table(head: list[str], cells: list[list[str]]) -> str:
    def line(tag: str, values: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(v)}</{tag}>" for v in values) + "</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', c) for c in cells)}</table>"


def _clips(i: int, subjects: list[Subject], reference: Reference) -> str:
    clip = reference.real.clips[i]
    figures = []
    for s in subjects:
        data = base64.b64encode(webp_bytes(_small(s.read(i)), reference.protocol.fps)).decode()
        figures.append(f'<figure><img src="data:image/webp;base64,{data}" alt=""><br>{html.escape(s.name)}</figure>')
    return f"<p>{html.escape(clip.name or clip.id)}</p><div class=clips>{''.join(figures)}</div>"


def _small(frames: Frames) -> Frames:
    """At most SIDE pixels high."""
    height, width = frames.shape[1:3]
    if height <= SIDE:
        return frames
    x = F.interpolate(frames.permute(0, 3, 1, 2).float(), (SIDE, round(width * SIDE / height)), mode="area")
    return x.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def scatter(rows: list[Measured]) -> str:
    """SVG: mean Frechet distance with its interval against seconds per clip, logarithmic."""
    timed = [r for r in rows if r.seconds]
    if not timed:
        return "<p>No row was timed.</p>"
    width, height, edge = 640, 300, 50
    xs = [math.log10(r.seconds or 1) for r in timed]
    top = 1.1 * max(r.frechet["mean"]["high"] for r in timed)
    low, span = min(xs), max(max(xs) - min(xs), 0.3)
    parts = [f'<line x1="{edge}" y1="{height - 30}" x2="{width}" y2="{height - 30}" stroke="#999"/>']
    for r, x in zip(timed, xs, strict=True):
        at = edge + 20 + (x - low) / span * (width - edge - 60)
        side = ("end", at - 8) if at > width / 2 else ("start", at + 8)
        y, y0, y1 = (height - 30 - r.frechet["mean"][k] / top * (height - 50) for k in ("value", "low", "high"))
        parts.append(f'<line x1="{at:.0f}" y1="{y0:.0f}" x2="{at:.0f}" y2="{y1:.0f}" stroke="#69c"/>')
        parts.append(f'<circle cx="{at:.0f}" cy="{y:.0f}" r="5" fill="#246"/>')
        where = f'text-anchor="{side[0]}" x="{side[1]:.0f}" y="{y + 4:.0f}"'
        parts.append(f"<text {where}>{html.escape(r.name)}, {r.seconds:.2f} s</text>")
    parts.append(f'<text x="4" y="16">Frechet (to {top:.0f})</text>')
    parts.append(f'<text text-anchor="end" x="{width - 10}" y="{height - 10}">seconds per clip, log scale</text>')
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(parts)}</svg>'
