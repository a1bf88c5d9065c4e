"""Commands that make clips."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from tyro.conf import Positional, arg

from sfv.batch.naming import left_out, plan
from sfv.cli.flags import Flags, Out, Pictures, ray_spread, say
from sfv.errors import SfvError
from sfv.ray.settings import Spread
from sfv.settings import Format, Settings, Speed
from sfv.system.progress import no_bars

if TYPE_CHECKING:
    from sfv.batch.mask_file import MaskFile


class Generate(Flags, Settings, Speed, Spread):
    """Animate pictures: files or folders of files, one clip each."""

    images: Pictures
    """Pictures, or folders of pictures."""
    out: Out = None
    """Folder for the clips, or one file name for one picture; beside the picture if not given."""
    model: str = "sticker"
    """Embedded model (sticker, sticker-teacher), a diffusers folder, or a hub id."""
    format: Format | None = None
    """File format; taken from --out if that names a file, else mp4."""
    for_: Annotated[tuple[str, ...], arg(name="for", metavar="PLATFORM")] = ()
    """Files as messengers take them, one or several: telegram, telegram-emoji, whatsapp, discord, discord-emoji, slack,
    signal, imessage, line, gif. Size, format and length follow; NAME-PLATFORM beside the picture or in --out.
    Three pictures and more for whatsapp are a pack, with its icon and contents.json."""
    seeds: str | None = None
    """Several at once, such as 1-8 or 3,7: NAME-seedN for each, and a sheet of them all, NAME-seeds.png."""
    name: str | None = None
    """What files are called, without their ending: a template of {stem} (the picture's name), {seed} and, with --for,
    {platform}; such as {stem}-{seed}."""
    keep_still: Path | None = None
    """A picture as a mask: white keeps still, with a soft edge; black moves. Of the picture's own shape."""
    only_moves: Path | None = None
    """A picture as a mask, the other way round: white alone moves, all else keeps still."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print one JSON object per clip instead of text."""
    quiet: bool = False
    """Print nothing but what went wrong (and the lines of --json), and show no bars."""
    resume: bool = False
    """Keep manifest.jsonl beside the clips, and skip what it lists as done."""
    overwrite: bool = False
    """Replace files that sfv did not write, too; without it such a file is kept and the clip takes another name."""
    ray: bool = False
    """Spread many pictures over processes and machines with Ray Data; always resumes (docs/scale.md)."""

    def run(self) -> int:
        """Exit code: 0, or 1 if any picture failed."""
        made = failed = 0
        with no_bars(self.quiet):
            asked, reports = self._reports()
            for line in [] if self.quiet else left_out(self.images):
                print(f"sfv: {line}", file=sys.stderr)
            for report in reports:
                bad = "error" in report
                if bad or self.json_ or not (self.ray or self.quiet):
                    say(report, self.json_, not made, asked)
                made, failed = made + (not bad), failed + bad * int(report.get("files", 1))
        if asked > 1 and not self.json_ and not self.quiet:
            there = asked - made - failed
            print(f"{made} made, {failed} failed" + f", {there} there already" * (there > 0))
        return int(failed > 0)

    def _reports(self) -> tuple[int, Iterator[dict[str, Any]]]:
        """How many clips are asked for, and a report of each that has to be made."""
        settings = self.fill(Settings)
        speed = self.fill(Speed)
        if self.for_:
            return self._for_platforms(settings, speed)
        if self.seeds is not None:
            return self._of_seeds(settings, speed)
        spread = ray_spread(self, self.ray)
        asked = (self.images, self.model, settings, self.out, self.format, self.device, speed)
        # wrong files are reported before torch is imported
        count = len(plan(self.images, settings, self.out, self.format, self.overwrite, self.name))
        if not self.ray:
            from sfv.batch.animate import animate_files

            return count, animate_files(*asked, self.resume, self._mask(), self.overwrite, self.name)
        if self._mask() is not None:
            raise SfvError("--keep-still and --only-moves go with one machine: leave them or --ray out")
        from sfv.ray.folder import animate_folder

        return count, animate_folder(*asked, spread, self.overwrite, self.name)

    def _for_platforms(self, settings: Settings, speed: Speed) -> tuple[int, Iterator[dict[str, Any]]]:
        """The same of files as messengers take them."""
        self._without("--for", {"--format": self.format, "--seeds": self.seeds})
        from sfv.batch.platform_names import plan_for

        pictures, files = plan_for(self.images, settings, self.for_, self.out, self.overwrite, self.name)
        from sfv.batch.platform_files import animate_for

        asked = (self.images, self.model, settings, self.for_, self.out, self.device, speed)
        return len(pictures) * len(files), animate_for(*asked, self._mask(), self.overwrite, self.name)

    def _of_seeds(self, settings: Settings, speed: Speed) -> tuple[int, Iterator[dict[str, Any]]]:
        """The same of several seeds; the sheet counts as a file."""
        self._without("--seeds", {"--seed": settings.seed})
        from sfv.batch.seed_names import plan_seeds, read_seeds

        seeds = read_seeds(self.seeds or "")
        rows = plan_seeds(self.images, settings, seeds, self.out, self.format, self.overwrite, self.name)
        from sfv.batch.seed_files import animate_seeds

        asked = (self.images, self.model, settings, seeds, self.out, self.format, self.device, speed)
        return len(rows) * (1 + len(seeds)), animate_seeds(*asked, self._mask(), self.overwrite, self.name)

    def _mask(self) -> "MaskFile | None":
        """What keeps still; SfvError for two masks."""
        from sfv.batch.mask_file import MaskFile

        if self.keep_still is not None and self.only_moves is not None:
            raise SfvError("--keep-still and --only-moves say the same in two ways; give one of them")
        given = self.keep_still or self.only_moves
        return None if given is None else MaskFile(given, given == self.only_moves)

    def _without(self, flag: str, others: dict[str, Any]) -> None:
        """SfvError for flags that do not go together."""
        given = [f for f, value in (others | {"--ray": self.ray, "--resume": self.resume}).items() if value]
        if given:
            raise SfvError(f"{given[0]} goes without {flag}; leave one of them out")


class CheckSticker(Flags):
    """Whether a file is one that a platform takes, rule by rule; any file, whoever made it."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """An animation: WebM, WebP, PNG, GIF, MP4."""
    for_: Annotated[str, arg(name="for", metavar="PLATFORM")]
    """telegram, telegram-emoji, whatsapp, discord, discord-emoji, slack, signal, imessage, line, gif."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Exit code: 0 if every rule is kept, else 1."""
        from sfv.platforms.check import check_sticker

        rules = check_sticker(self.file, self.for_)
        if self.json_:
            print(json.dumps([r.model_dump() for r in rules]))
        else:
            for r in rules:
                print(f"{'pass' if r.ok else 'FAIL'}  {r.rule}: {r.found}")
        return int(not all(r.ok for r in rules))


class Replay(Flags):
    """Make a clip again from the parameters inside it."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """A clip that sfv wrote."""
    out: Out = None
    """Where to write it; FILE-replay beside FILE if not given."""
    model: str | None = None
    """Another model than the one that made it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    overwrite: bool = False
    """Replace a file that sfv did not write, too."""

    def run(self) -> int:
        """Exit code."""
        from sfv.batch.replay import replay

        say(replay(self.file, self.out, self.model, self.device, self.overwrite), False)
        return 0


class Compare(Flags, Settings, Speed):
    """Animate one picture with several models and write them side by side, each with its time."""

    image: Annotated[Positional[Path | None], arg(metavar="IMAGE")] = None
    """A picture; the bundled example if not given."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("out")
    """Folder for the clips."""
    models: tuple[str, ...] = Field(default=("sticker", "sticker-teacher"), min_length=1)
    """Models, the first named is the subject."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    overwrite: bool = False
    """Replace files of the folder that sfv did not write, too."""

    def run(self) -> int:
        """Exit code."""
        from sfv.batch.compare import compare

        settings = self.fill(Settings)
        speed = self.fill(Speed)
        for line in compare(self.image, self.models, settings, self.out, self.device, speed, self.overwrite):
            print(line)
        return 0
