"""A run folder as one HTML page that needs nothing else: alarms, curves, samples, configuration."""

import base64
import html
import math
import re
from pathlib import Path

from pydantic import TypeAdapter

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.training.health import CONDITION_RULES, STUDENT_RULES, Row, read_alarms
from sfv.training.history import CONFIG, read_history
from sfv.training.lines import read_lines

LOG = "log.jsonl"
WIDTH, HEIGHT, EDGE = 420, 150, 34
FIRST = (
    "loss",
    "d_loss",
    "d_accuracy",
    "d_ranked",
    "g_adv",
    "huber",
    "motion",
    "spread",
    "sample_frechet",
    "sample_motion",
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1360px; color: #222; }
figure { display: inline-block; margin: 0 12px 18px 0; } figcaption { font-weight: 600; }
svg { background: #fafafa; border: 1px solid #ddd; } pre { background: #f4f4f4; padding: 1em; overflow: auto; }
.alarm { background: #fff0ee; border-left: 4px solid #c33; padding: .5em 1em; margin: .4em 0; }
.sound { background: #eefaf0; border-left: 4px solid #2a7; padding: .5em 1em; } img { max-width: 100%; }
"""


PAGE, HEAD = "report.html", "<!doctype html><meta charset=utf-8><title>sfv run</title>"


def write_reports(run_dir: Path, against: Path | None = None) -> tuple[list[Path], list[str]]:
    """Write report.html into a run folder, or into that of each of its stages; SfvError if none has figures.

    Returns the pages, and a sentence for each stage that has none yet. Stages are compared with those of the same
    number of `against`, where it has stages.
    """
    stages = sorted((p for p in run_dir.glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    begun = [p for p in (run_dir, *stages) if (p / CONFIG).exists()]
    pages, missing = list[Path](), list[str]()
    for folder in begun or [run_dir]:
        numbered = against / folder.name if against else None
        other = numbered if folder != run_dir and numbered and numbered.is_dir() else against
        try:
            pages.append(write_report(folder, other))
        except SfvError as error:
            missing.append(str(error))
    if not pages:
        raise SfvError(missing[0])
    return pages, missing


def write_report(run_dir: Path, against: Path | None = None) -> Path:
    """Write report.html into a run folder and return its path; SfvError if there is no log, or a page of others.

    `against` is another run's folder or log.jsonl, drawn in grey behind the curves.
    """
    try:
        config = (run_dir / CONFIG).read_text()
    except (OSError, ValueError) as error:
        raise SfvError(f"{run_dir} holds no readable {CONFIG} ({error}); name a run folder") from error
    rows, other = _own_rows(run_dir, config), []
    if against:
        other = _rows(against / LOG if against.is_dir() else against)
    stage = f"{run_dir.parent.name}, stage " if run_dir.name.isdigit() else ""
    body = [f"<h1>{html.escape(stage + run_dir.name)}: step {rows[-1]['step']:g}</h1>", _alarms(run_dir)]
    body += ["<h2>Curves</h2>", *(_figure(name, rows, other) for name in _order(rows))]
    body += ["<h2>Samples</h2>", *_samples(run_dir)]
    body += ["<h2>Configuration</h2>", *_changes(run_dir), f"<pre>{html.escape(config)}</pre>"]
    page = f"{HEAD}<style>{STYLE}</style>{''.join(body)}\n"
    _keep(run_dir / PAGE)
    with replacing(run_dir / PAGE) as path:
        path.write_text(page)
    return run_dir / PAGE


def _keep(page: Path) -> None:
    """SfvError if a page is there that sfv did not write."""
    if page.exists() and not (page.is_file() and page.read_bytes().startswith(HEAD.encode())):
        raise SfvError(f"{page} is there and was not written by sfv; move it away")


def _own_rows(run_dir: Path, config: str) -> list[Row]:
    """A run's figures; SfvError that says when they come, if there are none."""
    rows = _rows(run_dir / LOG) if (run_dir / LOG).exists() else []
    if not rows:
        every = re.search(r'"log_every": (\d+)', config)
        when = f"log_every={every[1]}" if every else "log_every"
        raise SfvError(
            f"{run_dir} has no {LOG} with figures yet: the first come after {when} steps; train on, or lower it"
        )
    return rows


def _rows(log: Path) -> list[Row]:
    if not log.exists():
        raise SfvError(f"{log} is not a readable {LOG} (it is not there); name a run folder")
    rows = read_lines(log, TypeAdapter(Row).validate_python)
    if number := next((i for i, row in enumerate(rows, 1) if "step" not in row), 0):
        raise SfvError(f"{log}: line {number} names no step; delete that line")
    return rows


def _alarms(run_dir: Path) -> str:
    alarms = read_alarms(run_dir)
    if not alarms:
        return '<p class="sound">No alarm was raised.</p>'
    return "".join(
        f'<p class="alarm"><b>Step {a["step"]}: {html.escape(a["kind"])}.</b> {html.escape(a["why"])}. '
        f"Advice: {html.escape(a['advice'])}.</p>"
        for a in alarms
    )


def _changes(run_dir: Path) -> list[str]:
    """What was changed while the run went on."""
    said = [
        (line["step"], "; ".join(f"{k} from {a} to {b}" for k, (a, b) in line["changed"].items()))
        for line in read_history(run_dir)
    ]
    return [f"<p>Step {step}: {html.escape(text)}.</p>" for step, text in said]


def _order(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(k for row in rows for k in row if k != "step"))
    return [n for n in FIRST if n in names] + [n for n in names if n not in FIRST]


def _figure(name: str, rows: list[Row], other: list[Row]) -> str:
    lines = [
        [(float(r["step"]), float(r[name])) for r in v if math.isfinite(r.get(name, math.nan))] for v in (rows, other)
    ]
    bounds = [b for rule in (*STUDENT_RULES, *CONDITION_RULES) if rule.figure == name for b in (rule.low, rule.high)]
    return f"<figure><figcaption>{html.escape(name)}</figcaption>{curve(lines[0], bounds, lines[1])}</figure>"


Points = list[tuple[float, float]]


def curve(points: Points, bounds: list[float], behind: Points | None = None) -> str:
    """An SVG line with its axes' ends, another in grey behind it, and dashed lines at the bounds inside the range."""
    every = [*points, *(behind or [])] or [(0.0, 0.0)]
    xs, ys = [p[0] for p in every], [p[1] for p in every]
    low, high = min(ys), max(ys)
    span_x, span_y = max(xs) - min(xs) or 1.0, high - low or 1.0

    def line(some: Points, look: str) -> str:
        across = [EDGE + (x - min(xs)) / span_x * (WIDTH - 2 * EDGE) for x, _ in some]
        down = [HEIGHT - 22 - (y - low) / span_y * (HEIGHT - 40) for _, y in some]
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
        return f'<polyline points="{at}" {look} fill="none"/>'

    lines = [line(behind, 'stroke="#bbb" stroke-width="1.6"')] if behind else []
    lines.append(line(points, 'stroke="#246" stroke-width="1.6"'))
    dash = 'stroke="#c33" stroke-dasharray="4"'
    lines += [line([(min(xs), b), (max(xs), b)], dash) for b in bounds if low <= b <= high]
    texts = [(4, 16, f"{high:.3g}"), (4, HEIGHT - 24, f"{low:.3g}"), (EDGE, HEIGHT - 5, f"step {min(xs):g}")]
    texts.append((WIDTH - 90, HEIGHT - 5, f"step {max(xs):g}"))
    labels = "".join(f'<text x="{x}" y="{y}" font-size="11">{t}</text>' for x, y, t in texts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
    return f"{head}{''.join(lines)}{labels}</svg>"


def _samples(run_dir: Path) -> list[str]:
    """The last samples, newest first."""
    files = sorted((run_dir / "samples").glob("*.png"), reverse=True)[:4]
    if not files:
        return ["<p>None yet.</p>"]
    shown = [(f.stem, base64.b64encode(f.read_bytes()).decode()) for f in files]
    return [f'<figure><figcaption>{n}</figcaption><img src="data:image/png;base64,{d}"></figure>' for n, d in shown]
