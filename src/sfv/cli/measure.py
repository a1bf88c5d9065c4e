"""Commands that measure."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tyro.conf import Positional, arg

from sfv.cli.flags import Flags
from sfv.errors import FlagError
from sfv.evaluation.settings import EvaluateSettings, StudySettings
from sfv.settings import Settings, Speed


class Bench(Flags, Settings, Speed):
    """Time models from picture on disk to mp4 on disk: warm, interleaved, stage by stage, as ratios."""

    image: Annotated[Positional[Path | None], arg(metavar="IMAGE")] = None
    """A picture; the bundled example if not given."""
    models: tuple[str, ...] = Field(default=("sticker", "sticker-teacher"), min_length=1)
    """MODEL[@PROFILE[/BACKEND]][:STEPS]; diffusers=MODEL[:STEPS] is diffusers' own, in float32 on a CPU and guided as
    the model is; diffusers=MODEL@PRECISION[/GUIDANCE] (float32, bfloat16; 1 is no guidance) as is asked. Ratios are
    to the first."""
    rounds: int = Field(default=7, gt=0, le=1000)
    """Clips of each model that are timed."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """JSON file for the result; a picture of it goes beside it as .svg."""
    against: Path | None = None
    """An earlier result of the same picture and settings, to be compared with."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.batch.compare import example
        from sfv.bench.run import bench

        settings = self.fill(Settings)
        image, speed = self.image or example(), self.fill(Speed)
        print(bench(image, self.models, settings, self.rounds, self.out, self.device, self.against, speed))
        return 0


class Doctor(Flags):
    """Tell what this machine has, how models would be run on it, what is missing, and the cure. Repairs nothing."""

    no_run: bool = False
    """Leave out the real clip."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Exit code: 0 if `sfv generate` would work, else 1."""
        from sfv.doctor import examine

        found = examine(not self.no_run, self.device)
        print(json.dumps(found.model_dump() | {"works": found.works}) if self.json_ else found.text())
        return int(not found.works)


class Evaluate(Flags, EvaluateSettings):
    """Measure models against real clips: Frechet distances with intervals, motion, consistency, seconds; a report."""

    place: Annotated[Positional[Path | None], arg(metavar="DATA")] = None
    """A clip store (sfv pack), or a folder of videos."""
    data: Path | None = None
    """The same as DATA."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out/evaluation")
    """Folder for table.json, table.md, table.tex, distances.svg, index.html and the clips made."""

    def run(self) -> int:
        """Exit code."""
        from sfv.evaluation.evaluate import evaluate

        data = self.place or self.data
        if data is None or (self.place and self.data):
            raise FlagError("--data: name one clip store (sfv pack) or one folder of videos")
        result = evaluate(data, self.fill(EvaluateSettings))
        print(f"{result.text()}\n\n{self.out / 'index.html'}")
        return 0


class Study(Flags, StudySettings):
    """Spoil real clips by degrees (noise, blur, freezing, shuffling, ...) and show which network sees what."""

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """A clip store (sfv pack), or a folder of videos."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out/study")
    """Folder for study.json, study.md and study.svg."""

    def run(self) -> int:
        """Exit code."""
        from sfv.evaluation.corruption_study import study

        print(study(self.data, self.fill(StudySettings)))
        return 0
