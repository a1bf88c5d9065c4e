"""A result, and its table for people: markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Spread = dict[str, float]
"""value, low, high, bias."""
RATIOS = "Ratios of distances (row / other, paired over clips)"
FEWEST = 20
"""Clips from which on anything is said of better or worse: an interval over fewer is itself too much chance."""
TOO_FEW = "too few clips"
INTERVALS = "Intervals are 95 % each, and are not corrected for how many of them there are."


@dataclass(frozen=True)
class Measured:
    """One row. Frechet and kernel distances over z-scored axes are times 1000; motion is in pixels per frame."""

    name: str
    calls: int
    seconds: float | None
    unet_seconds: float | None
    frechet: dict[str, Spread]
    """By network, and "mean" over them."""
    kernel: Spread
    motion_to_real: float
    motion_to_teacher: float
    diversity: float | None
    diversity_lpips: float | None
    flow: float
    flow_top: float
    dynamic_degree: float
    warp_error: float
    flicker: float
    sharpness: float
    saturation: float
    from_picture: list[float]
    first_frame_psnr: float
    psnr_to_real: float
    first_frame_lpips: float | None
    lpips_to_real: float | None
    by_take: list[float] = field(default_factory=list)
    """Of protocols with several takes: the mean distance of each."""
    latents: Spread | None = None
    """Frechet distance (times 1000) of what the network made to what its codec makes of the real clips."""
    latents_to_still: float | None = None
    """Its share of the still picture's in the same codec."""
    seam: float | None = None
    """Median over clips of the step from the last frame to the first, in usual steps."""
    seam_top: float | None = None
    """Its 95th percentile."""
    origin: dict[str, Any] | None = None
    """Which model made the clips, with its hash, and how it was asked (evaluation/origins.py); older tables lack it."""


@dataclass(frozen=True)
class Pair:
    """The mean distance of one row over that of another, with its 95 % interval over the same draws of clips."""

    row: str
    other: str
    ratio: float
    low: float
    high: float
    clips: int | None = None
    """How many were measured; None in older tables."""

    @property
    def verdict(self) -> str:
        """In words: better only if the whole interval is below 1; nothing of either from fewer than FEWEST clips."""
        if self.clips is not None and self.clips < FEWEST:
            return TOO_FEW
        return "better" if self.high < 1 else "worse" if self.low > 1 else "no difference shown"


@dataclass(frozen=True)
class Result:
    """The protocol's identity with notes, and a row for every subject."""

    protocol: dict[str, Any]
    rows: list[Measured]
    pairs: list[Pair] = field(default_factory=list)
    """Every model's row against every other row but the real clips, whose distance is 0."""

    def as_dict(self) -> dict[str, Any]:
        """As table.json holds it."""
        pairs = [asdict(p) | {"verdict": p.verdict} for p in self.pairs]
        return {"protocol": self.protocol, "rows": [asdict(r) for r in self.rows], "pairs": pairs}

    def text(self) -> str:
        """Quality and cost, motion and consistency, then ratios."""
        ratios = f"\n\n{RATIOS}\n\n{_markdown(*ratio_columns(self.pairs))}" if self.pairs else ""
        return "\n\n".join([both_tables(self.rows) + ratios, *remarks(self.rows)])


def remarks(rows: Sequence[Measured]) -> list[str]:
    """Sentences that a reader of the tables should have beside them."""
    read = [r.name for r in rows if r.origin and "files" in r.origin]
    paid = "were read from video files and pay for their lossy coding, which clips made here do not."
    coded = f"Clips of {', '.join(read)} {paid}"
    return [INTERVALS, *([coded] if read else [])]


def columns(rows: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Head and cells; the columns of networks and of latents are those that the rows have."""
    kinds = [k for k in rows[0].frechet if k != "mean"]
    latents, takes = any(r.latents for r in rows), any(r.by_take for r in rows)
    head = ["model:steps", "calls", "s/clip", "UNet s", "Frechet [95 %]", *kinds]
    head += ["each take"] if takes else []
    head += ["latents [95 %]", "latents/still"] if latents else []
    return [*head, "motion/real", "motion/first", "1st frame dB"], [_cells(r, kinds, latents, takes) for r in rows]


def _cells(m: Measured, kinds: list[str], latents: bool, takes: bool) -> list[str]:
    seconds = ["-" if v is None else f"{v:.2f}" for v in (m.seconds, m.unet_seconds)]
    numbers = [f"{m.frechet[k]['value']:.1f}" for k in kinds]
    cells = [" ".join(f"{v:.0f}" for v in m.by_take) or "-"] if takes else []
    cells += ["-" if m.latents is None else _spread(m.latents)] if latents else []
    cells += ["-" if m.latents_to_still is None else f"{m.latents_to_still:.2f}"] if latents else []
    ratios = [f"{m.motion_to_real:.2f}", f"{m.motion_to_teacher:.2f}", f"{m.first_frame_psnr:.1f}"]
    return [m.name, str(m.calls), *seconds, _spread(m.frechet["mean"]), *numbers, *cells, *ratios]


def _spread(v: Spread) -> str:
    return f"{v['value']:.1f} [{v['low']:.0f}, {v['high']:.0f}]"


def ratio_columns(pairs: Sequence[Pair]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the first and the last model's rows."""
    ends = {pairs[0].row, pairs[-1].row} if pairs else set()
    cells = [[p.row, p.other, f"{p.ratio:.2f} [{p.low:.2f}, {p.high:.2f}]", p.verdict] for p in pairs if p.row in ends]
    return ["row", "other", "ratio [95 %]", "row is"], cells


def second_columns(rows: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Motion and consistency."""
    head = ["model:steps", "flow px", "top 5 % px", "dynamic", "warp", "flicker", "sharpness", "saturation"]
    head += ["seam", "seam 95 %"]
    head += ["last frame from picture", "dB to real", "1st LPIPS", "LPIPS to real", "diversity", "by LPIPS"]
    cells = []
    for m in rows:
        plain = (m.flow, m.flow_top, m.dynamic_degree, m.warp_error, m.flicker, m.sharpness, m.saturation)
        rest = (
            m.seam,
            m.seam_top,
            m.from_picture[-1],
            m.psnr_to_real,
            m.first_frame_lpips,
            m.lpips_to_real,
            m.diversity,
            m.diversity_lpips,
        )
        cells.append([m.name, *(f"{v:.2f}" for v in plain), *("-" if v is None else f"{v:.3g}" for v in rest)])
    return head, cells


def markdown(rows: Sequence[Measured]) -> str:
    """The first table."""
    return _markdown(*columns(rows))


def both_tables(rows: Sequence[Measured]) -> str:
    """Quality and cost, then motion and consistency."""
    return f"{markdown(rows)}\n\n{_markdown(*second_columns(rows))}"


def _markdown(head: list[str], cells: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(rows: Sequence[Measured]) -> str:
    """The first table with booktabs rules."""
    head, cells = columns(rows)
    lines = [r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}", r"\toprule"]
    lines += [" & ".join(map(_tex, line)) + r" \\" for line in [head, *cells]]
    lines.insert(3, r"\midrule")
    notes = [rf"\par{{\footnotesize {_tex(remark)}}}" for remark in remarks(rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes])


def _tex(text: str) -> str:
    for sign in "\\&%_#$":
        text = text.replace(sign, r"\textbackslash{}" if sign == "\\" else "\\" + sign)
    return text
