"""A result, and its table for people: markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Spread = dict[str, float]
"""value, low, high, bias."""


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


@dataclass(frozen=True)
class Result:
    """The protocol's identity with notes, and a row for every subject."""

    protocol: dict[str, Any]
    rows: list[Measured]

    def as_dict(self) -> dict[str, Any]:
        """As table.json holds it."""
        return {"protocol": self.protocol, "rows": [asdict(r) for r in self.rows]}

    def text(self) -> str:
        """Quality and cost, then motion and consistency."""
        return both_tables(self.rows)


def columns(rows: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Head and cells; the networks' columns are those that the rows have."""
    kinds = [k for k in rows[0].frechet if k != "mean"]
    head = ["model:steps", "calls", "s/clip", "UNet s", "Frechet [95 %]", *kinds]
    return [*head, "motion/real", "motion/teacher", "1st frame dB"], [_cells(r, kinds) for r in rows]


def _cells(m: Measured, kinds: list[str]) -> list[str]:
    seconds = ["-" if v is None else f"{v:.2f}" for v in (m.seconds, m.unet_seconds)]
    mean = m.frechet["mean"]
    spread = f"{mean['value']:.1f} [{mean['low']:.0f}, {mean['high']:.0f}]"
    numbers = [f"{m.frechet[k]['value']:.1f}" for k in kinds]
    ratios = [f"{m.motion_to_real:.2f}", f"{m.motion_to_teacher:.2f}", f"{m.first_frame_psnr:.1f}"]
    return [m.name, str(m.calls), *seconds, spread, *numbers, *ratios]


def second_columns(rows: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Motion and consistency."""
    head = ["model:steps", "flow px", "top 5 % px", "dynamic", "warp", "flicker", "sharpness", "saturation"]
    head += ["last frame from picture", "dB to real", "1st LPIPS", "LPIPS to real", "diversity", "by LPIPS"]
    cells = []
    for m in rows:
        plain = (m.flow, m.flow_top, m.dynamic_degree, m.warp_error, m.flicker, m.sharpness, m.saturation)
        rest = (
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
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _tex(text: str) -> str:
    for sign in "\\&%_#$":
        text = text.replace(sign, r"\textbackslash{}" if sign == "\\" else "\\" + sign)
    return text
