"""The diagnosis: facts, what follows from them, and one real clip."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import sfv
from sfv.doctor import machine
from sfv.doctor.diagnosis import Choice, Diagnosis, Extra, Machine, Problem, Torch, Trial, Weights
from sfv.errors import SfvError
from sfv.settings import Settings, Speed

if TYPE_CHECKING:
    from sfv.families.base import VideoModel

ENCODERS = ("libx264",)
"""Video encoders that `sfv generate` uses."""
REINSTALL = "pip install --force-reinstall --no-deps sfv"
LITTLE = 2 << 30
"""Bytes of free memory below which a clip of the embedded model may not fit beside torch."""


def examine(run: bool = True, device: str = "auto") -> Diagnosis:
    """Look at this machine; never raises for what it finds there. `run`: also make a clip, twice."""
    missing = machine.lacking("sfv")
    weights = machine.weights()
    problems = (*_missing(missing), *_damaged(weights))
    found = Diagnosis(
        sfv=sfv.__version__,
        machine=machine.machine(),
        disk=machine.disk(_cache()),
        weights=weights,
        extras=machine.extras(),
        problems=problems,
    )
    return found if missing else _with_torch(found, run, device)


def _cache() -> Path:
    """From sfv.media, which needs the requirements to be there."""
    try:
        from sfv.media import cache_folder
    except ImportError:
        return Path.home()
    return cache_folder()


def _with_torch(found: Diagnosis, run: bool, device: str) -> Diagnosis:
    """The rest of the diagnosis, for which torch, PyAV and the others must be there."""
    from sfv.media import has_encoder

    torch, encoders = machine.torch_facts(), {name: has_encoder(name) for name in ENCODERS}
    problems = [*found.problems, *(_no_encoder(name) for name, there in encoders.items() if not there)]
    choice, trial = None, None
    try:
        model, seconds = _opened(device)
        choice = _choice(model)
        trial = _tried(model, seconds) if run else None
    except SfvError as error:
        problems.append(Problem(what=str(error), cure="see docs/install.md"))
    advice = _advice(found.machine, torch, found.extras)
    known = {"torch": torch, "encoders": encoders, "choice": choice, "trial": trial}
    return found.model_copy(update=known | {"problems": tuple(problems), "advice": tuple(advice)})


def _opened(device: str) -> tuple["VideoModel", float]:
    from sfv.speed.optimize import open_model

    start = time.perf_counter()
    return open_model("sticker", device, Speed(), 1), time.perf_counter() - start


def _choice(model: "VideoModel") -> Choice:
    from sfv.speed.record import choose

    backends = dict(model.speed)
    facts = {name: backends.pop(name) for name in ("profile", "precision", "reason")}
    many = choose(model, facts["profile"])[1]
    return Choice(device=str(model.device), backends=backends, many=many, **facts)


def _tried(model: "VideoModel", load: float) -> Trial:
    """The bundled picture to an mp4, twice."""
    from sfv.batch.clip_file import animate_file
    from sfv.batch.compare import example

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            start = time.perf_counter()
            animate_file(model, example(), Settings(), Path(folder) / "clip.mp4")
            seconds.append(round(time.perf_counter() - start, 4))
    return Trial(load=round(load, 4), first=seconds[0], second=seconds[1])


def _missing(requirements: tuple[str, ...]) -> list[Problem]:
    if not requirements:
        return []
    pip = "pip install " + " ".join(f'"{r}"' for r in requirements)
    return [Problem(what=f"required packages are missing or too old: {', '.join(requirements)}", cure=pip)]


def _damaged(weights: Weights) -> list[Problem]:
    if not weights.damaged:
        return []
    what = f"embedded weights in {weights.folder} are missing or damaged: {', '.join(weights.damaged)}"
    return [Problem(what=what, cure=f"install them anew: {REINSTALL}")]


def _no_encoder(name: str) -> Problem:
    cure = "install PyAV's own wheel: pip install --force-reinstall --only-binary av av; or use --format webp"
    return Problem(what=f"PyAV here has no encoder {name}, which mp4 needs", cure=cure)


def _advice(here: Machine, torch: Torch, extras: tuple[Extra, ...]) -> list[Problem]:
    found = []
    if torch.driver and not torch.cuda:
        what = "there is an NVIDIA driver, but torch is a CPU build"
        found.append(Problem(what=what, cure="install torch's CUDA build (docs/install.md)"))
    elif torch.driver and not torch.gpus:
        what = f"torch is built for CUDA {torch.cuda}, but sees no card with driver {torch.driver}"
        found.append(Problem(what=what, cure="update the driver, or install torch for an older CUDA"))
    if here.quota is not None and torch.threads > max(1, here.quota):
        what = f"torch would use {torch.threads} threads on {here.quota:g} CPUs"
        found.append(Problem(what=what, cure=f"set OMP_NUM_THREADS={max(1, int(here.quota))}"))
    if here.free < LITTLE:
        what = f"only {here.free / 2**30:.1f} GiB of memory are free"
        found.append(Problem(what=what, cure="close other programs, or give the container more"))
    if not extras:
        what = "sfv is on the path but not installed, so extras cannot be listed"
        found.append(Problem(what=what, cure="pip install -e ."))
    return found
