"""What is measured, frozen: a protocol is a JSON file, its hash goes into every result, other hashes are refused."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfv.errors import SfvError

Kind = Literal["recogniser", "appearance", "time", "i3d", "videomae"]
REVISION = 1
"""Raised whenever the same protocol file would give other digits."""


class Choice(BaseModel):
    """A feature network, the hash of its weights file (none: any, and the result carries what was found), its axes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    dims: int = Field(default=32, ge=0, le=4096)
    """Principal axes of z-scored rows that are kept; 0 takes the rows as they are (published FVD)."""


class Baselines(BaseModel):
    """How two baselines move the picture as one body; chosen on selection clips (runs/quality/choose_baselines.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sway_degrees: float = Field(default=2.0, ge=0, le=45)
    """The most that "sway" turns the picture about its bottom centre, to either side."""
    sway_seconds: float = Field(default=1.5, gt=0)
    """Of one turn there and back to both sides; in protocols of whole rounds the nearest that closes."""
    squash_share: float = Field(default=0.04, ge=0, le=0.5)
    """The most that "squash" stretches the picture upward while it narrows it, and the reverse."""
    squash_seconds: float = Field(default=1.0, gt=0)
    """Likewise."""


LATER = ("part", "whole", "baselines", "seeds", "takes")
"""Fields that came later: they are in the hash only where they differ from their defaults, so that older hashes stay;
their defaults, too, stay as they are."""
TAKE = 1000
"""From the seed of a clip to that of the next made from the same picture; diversity takes those between."""


class Protocol(BaseModel):
    """Which clips, how they are made and cut to size, and what compares them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    split: str = "val"
    """Of a clip store; folders of videos have none."""
    part: Literal["all", "selection", "report"] = "all"
    """Families of the split, halved for good: settings, checkpoints and seeds are chosen on one half; the other is
    published."""
    clips: int = Field(default=0, ge=0)
    """How many; 0 takes all that `per_family` leaves. Fewer at hand is an error."""
    per_family: int = Field(default=2, gt=0)
    """At most so many of one family (of one folder, for videos)."""
    order: Literal["spread", "shuffled"] = "spread"
    """spread: in the order of the set. shuffled: drawn by `seed`."""
    frames: int = Field(gt=2, le=200)
    fps: float = Field(gt=0, le=120)
    whole: bool = False
    """One whole round of each clip, in `frames` evenly spread frames that are played at `fps`; for clip stores."""
    height: int = Field(ge=16, le=2160)
    width: int = Field(ge=16, le=4096)
    """Of every clip when it is measured."""
    fit: Literal["pad", "crop", "stretch"] = "pad"
    """How videos come to that size, and condition pictures to the model's; stretch is undone on the clip made."""
    resize: Literal["lanczos"] = "lanczos"
    """Pillow's, which is antialiased."""
    seed: int = 0
    """Of every clip made."""
    seeds: Literal["one", "each"] = "one"
    """one: all clips are made from the same noise, so they keep step with each other. each: every clip from its own, by
    `seed` and its name, as published distances are; the moved baselines begin to one side or to the other."""
    takes: int = Field(default=1, ge=1, le=16)
    """Clips that a model makes from each picture, each from other noise; its distances are means over them."""
    extractors: tuple[Choice, ...] = Field(min_length=1)
    basis: int = Field(default=250, ge=0)
    """Training clips from which a store's axes are taken, families evenly; 0 takes the real clips measured."""
    bootstrap: int = Field(default=300, ge=0, le=10000)
    """Draws of the 95 % intervals."""
    diversity: int = Field(default=4, ge=0)
    """Pictures that are animated with two more seeds."""
    baselines: Baselines = Baselines()
    """How the rows "sway" and "squash" move."""

    def seed_of(self, clip: str, take: int = 0) -> int:
        """Of the noise of a clip, by its id; 0 to 2^31 - 1 where every clip has its own."""
        if self.seeds == "one":
            return self.seed + TAKE * take
        return (self.seed + TAKE * take + int(hashlib.sha256(clip.encode()).hexdigest()[:8], 16)) % 2**31

    def way(self, clip: str) -> int:
        """1 or -1: the side to which a moved baseline begins."""
        return 1 if self.seeds == "one" else 1 - 2 * (self.seed_of(clip) % 2)

    def digest(self) -> str:
        """16 hex digits over every field."""
        usual = {k for k in LATER if getattr(self, k) == type(self).model_fields[k].default}
        text = json.dumps(self.model_dump(exclude=usual) | {"revision": REVISION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def shipped() -> dict[str, Path]:
    """Protocols inside the package, by name."""
    found = (Path(str(files("sfv"))) / "protocols").glob("*.json")
    return {p.stem: p for p in sorted(found, key=lambda p: p.stem)}


def read_protocol(name: str, limit: int = 0, takes: int = 0) -> Protocol:
    """A shipped protocol by name, or a JSON file; `limit` replaces its number of clips, `takes` how often each is made
    (both change its hash)."""
    known = shipped()
    path = known.get(name, Path(name))
    if name not in known and path.suffix != ".json":
        raise SfvError(f"protocol {name!r} is unknown; use {', '.join(known)} or a JSON file")
    try:
        protocol = Protocol.model_validate_json(path.read_text())
    except OSError as error:
        raise SfvError(f"{path} cannot be read ({error}); name a protocol file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SfvError(f"{path} is not a protocol: {where}: {first['msg'].lower()}") from error
    changed = {"clips": limit, "takes": takes}
    return protocol.model_copy(update={k: v for k, v in changed.items() if v})


def same_protocol(here: dict[str, Any], there: dict[str, Any], file: Path) -> None:
    """Refuse to compare two results (their "protocol" entries) that were not measured alike."""
    for key, what in (("hash", "protocol"), ("data", "real clips"), ("extractors", "feature networks")):
        if here[key] != there.get(key):
            mine, theirs = (json.dumps(v) for v in (here[key], there.get(key)))
            raise SfvError(
                f"{file} was measured with other {what} ({theirs}, here {mine}); figures of different protocols "
                "must not be compared, measure both with one"
            )
