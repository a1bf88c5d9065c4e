"""What `sfv doctor` found: a schema for programs and aligned text for people."""

import textwrap

from pydantic import BaseModel, ConfigDict

WIDTH = 110


class Found(BaseModel):
    """A part of the diagnosis."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(Found):
    """The computer, as far as this process may use it."""

    system: str
    python: str
    cpu: str
    cores: int
    """Physical cores."""
    threads: int
    """Hardware threads that this process may run on."""
    quota: float | None
    """CPUs that a container's limit leaves; None without one."""
    flags: tuple[str, ...]
    """Instruction sets that matter here, of FLAGS."""
    memory: int
    """Bytes; a container's limit if that is less."""
    free: int
    """Bytes that can be had now."""


class Gpu(Found):
    """One graphics card that torch can use."""

    name: str
    memory: int
    """Bytes."""
    capability: str


class Torch(Found):
    """The build of torch and what it sees."""

    version: str
    cuda: str | None
    """CUDA version it was built for; None for a CPU build."""
    threads: int
    capability: str
    """Best instruction set that its kernels use."""
    gpus: tuple[Gpu, ...]
    driver: str | None
    """Version of the NVIDIA driver; None where there is none."""


class Disk(Found):
    """Where measurements and compiled graphs are kept."""

    folder: str
    free: int | None
    """Bytes; None if unknown."""
    writable: bool


class Extra(Found):
    """One optional part of the package."""

    name: str
    missing: tuple[str, ...]
    """Requirements that are not met; empty if it is installed."""
    pip: str
    """The line that installs it."""


class Weights(Found):
    """The weights inside the package against the sums they were shipped with."""

    folder: str
    files: int
    size: int
    """Bytes."""
    damaged: tuple[str, ...]
    """Files that are missing or have another SHA-256."""


class Choice(Found):
    """How the embedded model would be run."""

    device: str
    profile: str
    precision: str
    backends: dict[str, str]
    """Stage -> backend, for one clip."""
    reason: str
    many: str
    """The reason given for a thousand clips in one process."""


class Trial(Found):
    """A real clip, from picture file to mp4 file, in seconds."""

    load: float
    first: float
    second: float
    """The clip after the first: what each further one takes."""


class Problem(Found):
    """What is wrong, and what to do about it."""

    what: str
    cure: str


class Diagnosis(Found):
    """All that `sfv doctor` found. A part that could not be looked at is None, and `problems` says why."""

    sfv: str
    machine: Machine
    disk: Disk
    weights: Weights
    extras: tuple[Extra, ...]
    torch: Torch | None = None
    encoders: dict[str, bool] = {}
    """Video encoder -> whether PyAV can open it."""
    choice: Choice | None = None
    trial: Trial | None = None
    problems: tuple[Problem, ...] = ()
    """What keeps `sfv generate` from working."""
    advice: tuple[Problem, ...] = ()
    """What works, but could be better."""

    @property
    def works(self) -> bool:
        """Whether `sfv generate` would work."""
        return not self.problems

    def text(self) -> str:
        """Aligned lines for people."""
        verdict = "`sfv generate` works here" if self.works else "`sfv generate` would not work here"
        parts = [f"sfv {self.sfv}: {verdict}"]
        groups = [("machine", _machine(self)), ("sfv generate", _generate(self)), ("extras", _extras(self.extras))]
        groups += [("problems", _problems(self.problems)), ("advice", _problems(self.advice))]
        return "\n\n".join(parts + [f"{title}\n{_rows(rows)}" for title, rows in groups if rows]) + "\n"


Rows = list[tuple[str, str]]


def _rows(rows: Rows) -> str:
    """Two columns; a long right one is folded below itself."""
    left = max(len(label) for label, _ in rows)
    return "\n".join(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=f"  {label:{left}}  ",
            subsequent_indent=" " * (left + 4),
            break_on_hyphens=False,
            break_long_words=False,
        )
        for label, text in rows
    )


def _machine(found: Diagnosis) -> Rows:
    here, torch = found.machine, found.torch
    quota = "" if here.quota is None else f", limited to {here.quota:g} CPUs"
    rows = [
        ("system", f"{here.system}, Python {here.python}"),
        ("cpu", f"{here.cpu}: {_count(here.cores, 'core')}, {_count(here.threads, 'thread')}{quota}"),
        ("flags", ", ".join(here.flags) or "none of those that matter here"),
        ("memory", f"{_size(here.memory)}, {_size(here.free)} free"),
    ]
    if torch:
        build = f"CUDA {torch.cuda}" if torch.cuda else "CPU build"
        rows.append(("torch", f"{torch.version} ({build}), {_count(torch.threads, 'thread')}, {torch.capability}"))
        gpus = ", ".join(f"{g.name} ({_size(g.memory)}, {g.capability})" for g in torch.gpus) or "none that torch sees"
        rows.append(("gpu", gpus + (f"; driver {torch.driver}" if torch.driver else "")))
    free = "unknown space" if found.disk.free is None else f"{_size(found.disk.free)} free"
    rows.append(("cache", f"{found.disk.folder}, {free}{'' if found.disk.writable else ', cannot be written'}"))
    return rows


def _generate(found: Diagnosis) -> Rows:
    weights, choice, trial = found.weights, found.choice, found.trial
    whole = "whole" if not weights.damaged else f"damaged: {', '.join(weights.damaged)}"
    rows = [("weights", f"{_count(weights.files, 'file')}, {weights.size / 1e6:.0f} MB, {whole}")]
    if choice:
        stages = ", ".join(f"{stage} {backend}" for stage, backend in choice.backends.items())
        rows.append(("runs on", f"{choice.device}, profile {choice.profile} ({choice.precision}): {stages}"))
        rows.append(("why", choice.reason))
        rows += [("for many", choice.many)] if choice.many != choice.reason else []
    if found.encoders:
        rows.append(("encoders", ", ".join(f"{n}{'' if ok else ' MISSING'}" for n, ok in found.encoders.items())))
    if trial:
        line = f"first clip {trial.first:.2f} s, the next {trial.second:.2f} s (after {trial.load:.2f} s of loading)"
        rows.append(("tried", line))
    return rows


def _extras(extras: tuple[Extra, ...]) -> Rows:
    return [(e.name, f"missing {', '.join(e.missing)}: {e.pip}" if e.missing else "installed") for e in extras]


def _problems(problems: tuple[Problem, ...]) -> Rows:
    return [(f"{i}.", f"{p.what}; {p.cure}") for i, p in enumerate(problems, 1)]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
