"""What a part's training was begun with, and that one process trains it at a time: begun.json and .lock of its folder.

`history` keeps what a run was asked for; here is what the command line gives beside it, the model and the data.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from torch import nn

from sfv.errors import SfvError
from sfv.families.base import VideoModel, sketch
from sfv.media import replacing
from sfv.system.progress import say
from sfv.training.parallel import World, any_rank

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEGUN, LOCK = "begun.json", ".lock"
OTHER = "which cannot change within a run; use another model folder or delete this run"


@dataclass(frozen=True)
class Beginning:
    """The model and the data of a part: as they were named, and marks of what they hold."""

    init: str
    """Empty where the part goes on from its own folder."""
    model: str
    store: str
    data: str
    own: bool
    """Whether the part begins with its own model folder, which training changes: then marks may differ."""


def is_own(init: Path | None, folder: Path) -> bool:
    """Whether a part begins with its own model folder."""
    return init is None or init.expanduser().resolve() == folder.expanduser().resolve()


def beginning(networks: Sequence[nn.Module], store: Path, init: Path | None, folder: Path) -> Beginning:
    """Of a part of the model folder `folder`, begun with `networks` as they are now; `init` as the command has it."""
    return Beginning(str(init or ""), sketch(networks), str(store), data_mark(store), is_own(init, folder))


def networks_of(model: VideoModel) -> tuple[nn.Module, ...]:
    """All that a part may begin with."""
    return model.denoiser, model.codec, model.conditioner


def data_mark(store: Path) -> str:
    """16 hex digits over which clips a clip store or video shards hold: their names, lengths, motion and codec."""
    path = next((p for p in (store / "index.json", store / "store.json") if p.exists()), store / "store.json")
    index = json.loads(path.read_text())
    held = {key: index.get(key) for key in ("codec", "fps", "frames", "size", "clips")}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def begun(run_dir: Path, now: Beginning, world: World) -> Iterator[None]:
    """Hold a part's folder while it is trained, and keep what it is begun with; made if it is not there.

    SfvError if another process trains it, or if it was begun with another model or other data. A run of a version that
    kept neither goes on, and has them from now on. The folder is there before the first part of the model is written:
    by it a model folder is known as sfv's (`keep_models`), however early its training was stopped.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with _locked(run_dir, world):
        known = _known(run_dir / BEGUN)
        if known is not None:
            _compare(run_dir, known, now)
        world.wait()  # every rank has compared
        if known is None and world.main:
            with replacing(run_dir / BEGUN) as beside:
                beside.write_text(json.dumps(asdict(now), indent=1))
        yield


def _known(path: Path) -> Beginning | None:
    if not path.exists():
        return None
    try:
        return TypeAdapter(Beginning).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SfvError(f"{path} is damaged; delete it to go on with the model and data given now") from error


def _compare(run_dir: Path, known: Beginning, now: Beginning) -> None:
    """SfvError if a model that is named is another one, or the data are others."""
    where = run_dir / BEGUN
    if now.data != known.data:
        raise SfvError(f"{where}: the data were {known.store} and {now.store} holds other clips, {OTHER}")
    if now.init and now.model != known.model and not (now.own and known.own):
        was = f"--init was {known.init}" if known.init else "the run began with its own folder"
        raise SfvError(f"{where}: {was} and {now.init} holds other weights, {OTHER}")


@contextmanager
def _locked(run_dir: Path, world: World) -> Iterator[None]:
    """The main rank holds the lock for all; the system lets go of it when the process dies."""
    file = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT) if world.main else None
    try:
        free = file is None or _take(file, run_dir)
        if any_rank([not free], world)[0]:
            raise SfvError(f"{run_dir} is being trained by another process; wait for it, or use another model folder")
        yield
    finally:
        if file is not None:
            os.close(file)


def _take(file: int, run_dir: Path) -> bool:
    """Whether nobody else holds it; where there are no locks it is said that nobody watches."""
    try:
        if fcntl is None:
            raise OSError("this system has no flock")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        say(f"{run_dir} cannot be locked ({error}); see that no second training uses it meanwhile", wrong=True)
    return True
