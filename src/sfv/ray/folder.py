"""A folder of many pictures by Ray Data: the clips are those of sfv.batch, the manifest is that of `--resume`."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sfv.batch.animate import animate_pairs, digest
from sfv.batch.clip_file import Report
from sfv.batch.manifest import Manifest
from sfv.batch.naming import STEM, Pairs, folder_of, named, plan
from sfv.errors import SfvError
from sfv.ray.cluster import cluster, share
from sfv.ray.settings import Spread
from sfv.settings import Settings, Speed

BLOCK = 8
"""Pictures at most that a worker is given at once: what is made again after a kill."""
TRIES = 2
"""How often a picture may end its worker before it is left out."""
DIED = "its worker process died of it twice (out of memory?)"
LOST = "no worker answered for it; the same command tries it again"


def animate_folder(
    images: Sequence[Path],
    model: str,
    settings: Settings,
    out: Path | None = None,
    format: str | None = None,
    device: str = "auto",
    speed: Speed | None = None,
    spread: Spread | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Iterator[Report]:
    """As `animate_files` with `resume`, by Ray Data's actors, each with a model of its own; order is free.

    Pictures are opened by the workers alone, so every machine must see the files under the same paths. The same bytes
    as on one machine with as many threads. Raises SfvError if there is nothing to do or no Ray answers.
    """
    if ":" in device:
        raise SfvError(f"--device {device}: with --ray, cards are given out by Ray; use --device cuda")
    pairs = plan(images, settings, out, format, overwrite, name)
    book = Manifest(folder_of(pairs), digest(model, settings, speed))
    left = book.left(pairs)
    if not left:
        return
    folder = Path(model).expanduser()
    place = str(folder.absolute()) if folder.is_dir() else model
    task = {"model": model, "place": place, "settings": settings, "speed": speed or Speed(), "device": device}
    task |= {"overwrite": overwrite, "stem": named(name, settings)}
    bar = tqdm(total=len(pairs), initial=len(pairs) - len(left), desc="animate", unit="clip", smoothing=0)
    with cluster(spread or Spread()) as ray, bar:
        for report in _reports(ray, left, task, spread or Spread()):
            bar.update()
            book.add(report)
            yield report


def _reports(ray: Any, pairs: Pairs, task: dict[str, Any], spread: Spread) -> Iterator[Report]:
    """A report of every pair, as workers finish them; those that no worker answered for come last, as errors."""
    workers, needs = share(ray, spread, task["device"])
    blocks = max(1, math.ceil(len(pairs) / max(1, min(BLOCK, len(pairs) // (4 * workers)))))
    names = ray.put([(str(picture.absolute()), str(target.absolute())) for picture, target in pairs])
    watch = ray.remote(num_cpus=0)(Watch).remote()
    pool = ray.data.ActorPoolStrategy(size=max(1, min(workers, blocks)))
    numbers = ray.data.from_items(range(len(pairs)), override_num_blocks=blocks)  # no tasks of its own: no CPU is left
    shared = {"names": [names], "watch": [watch], "threads": spread.ray_threads}
    reports = numbers.map_batches(Animator, fn_constructor_kwargs=shared | task, batch_size=None, compute=pool, **needs)
    missing = dict(enumerate(pairs))
    try:
        for some in reports.iter_batches(
            batch_size=None, prefetch_batches=0
        ):  # reported at once, not with the next block
            for number, line in zip(some["id"], some["report"], strict=True):
                if int(number) not in missing:  # reported before its worker died
                    continue
                picture, target = missing.pop(int(number))
                report = json.loads(line)
                yield report | {"image": str(picture)} | ({} if "error" in report else {"out": str(target)})
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise SfvError(f"the workers stopped ({reason}); the same command goes on from the manifest") from error
    for picture, _ in missing.values():
        yield {"image": str(picture), "error": f"{picture}: {LOST}"}


class Watch:
    """An actor that remembers which pictures were begun and not ended, through the death of workers."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """How often this picture has been begun, this time counted."""
        self.begun[number] += 1
        return self.begun[number]

    def end(self, number: int) -> None:
        """Its worker has survived it."""
        del self.begun[number]


class Animator:
    """What a Ray actor holds: a model, loaded once."""

    def __init__(
        self,
        names: list[Any],
        watch: list[Any],
        threads: int,
        model: str,
        place: str,
        settings: Settings,
        speed: Speed,
        device: str,
        overwrite: bool = False,
        stem: str = STEM,
    ) -> None:
        """`names` holds one reference to all (picture, clip) names, kept once on every machine; `place` the model.

        `watch` holds the Watch that all workers share.
        """
        import ray
        import torch

        from sfv.speed.optimize import open_model
        from sfv.system.memory import keep_memory

        keep_memory()
        torch.set_num_threads(threads)
        self.get, self.names, self.watch, self.settings = ray.get, ray.get(names[0]), watch[0], settings
        self.overwrite, self.stem = overwrite, stem
        self.model = replace(open_model(place, device, speed), name=model)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """A batch of numbers of names -> a report each, as soon as its clip is written."""
        for number in (int(i) for i in batch["item"]):
            picture, target = (Path(name) for name in self.names[number])
            tries = self.get(self.watch.begin.remote(number))
            report = {"image": str(picture), "error": f"{picture}: {DIED}"}
            if tries <= TRIES:
                report = self.animate(picture, target)
            self.watch.end.remote(number)
            yield {"id": [number], "report": [json.dumps(report)]}

    def animate(self, picture: Path, target: Path) -> Report:
        """A report, whatever goes wrong with this picture."""
        try:
            pairs = [(picture, target)]
            return next(animate_pairs(self.model, pairs, self.settings, overwrite=self.overwrite, stem=self.stem))
        except Exception as error:  # one of a hundred thousand must not end the others
            return {"image": str(picture), "error": f"{picture}: unexpected {type(error).__name__}: {error}"}
