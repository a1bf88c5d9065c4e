"""What is asked of `sfv evaluate` and `sfv study`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from sfv.settings import Decoder, Profile

LADDER = ("sticker-teacher:25", "sticker-teacher:8", "sticker-teacher:4", "sticker-teacher:1", "sticker:1")


class EvaluateSettings(BaseModel):
    """A request to measure models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(default=LADDER, min_length=1)
    """MODEL[@PROFILE][:STEPS], or a folder of clips made elsewhere; motion ratios refer to the first."""
    protocol: str = "sticker"
    """What is measured and how: sticker or loops, each also with -selection or -report (half of the families: to
    choose on, to publish), offline (needs no --weights), ucf101, or a JSON file."""
    limit: int = Field(default=0, ge=0)
    """Use only this many clips (0 = the protocol's number): quicker, and another protocol."""
    takes: int = Field(default=0, ge=0, le=16)
    """Clips made from each picture, each from other noise; figures are means over them, and steadier (0 = the
    protocol's number). Compare results of equal takes only."""
    weights: Path | None = None
    """Folder with the protocol's feature networks (and lpips_alexnet.safetensors for LPIPS)."""
    out: Path = Path("out/evaluation")
    """Folder for table.json, table.md, table.tex, distances.svg, index.html and the clips made."""
    against: Path | None = None
    """An earlier table.json of the same protocol, to be compared with."""
    decoder: Decoder | None = None
    """small or full, for every model; the default is what `sfv generate` uses."""
    profile: Profile = "fast"
    """exact or fast, for every model that does not name its own; always eager, so that digits do not depend on it."""
    workers: int = Field(default=2, gt=0, le=256)
    """Threads that extract features; the digits do not depend on it."""
    device: str = "auto"
    """Of the models: auto, cpu, cuda, cuda:1, mps."""


class StudySettings(BaseModel):
    """A request to find out which network sees which fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str = "sticker"
    """Whose clips and networks: sticker, offline, ucf101, or a JSON file."""
    limit: int = Field(default=0, ge=0)
    """Use only this many clips (0 = the protocol's number)."""
    weights: Path | None = None
    """Folder with the protocol's feature networks."""
    out: Path = Path("out/study")
    """Folder for study.json, study.md and study.svg."""
    workers: int = Field(default=2, gt=0, le=256)
    """Threads that extract features; the digits do not depend on it."""
