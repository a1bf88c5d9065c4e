"""Work over many clips by several threads, one clip and one torch thread each: the same digits however many there are.

Rows of real clips are kept on disk under the hash of their pixels, of the network and of the code that makes them.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from sfv.evaluation.features import Extractor
from sfv.evaluation.real_clips import RealClip
from sfv.measures.distances import Basis, Rows
from sfv.media import cache_folder, replacing
from sfv.system.code_hash import sources
from sfv.types import Frames

S = TypeVar("S")
T = TypeVar("T")
SEERS = ("evaluation/extract.py", "evaluation/features", "measures", "media")
"""Our modules on which a row can depend, for the same pixels and weights."""


def each(work: Callable[[S], T], items: Sequence[S], workers: int, what: str) -> list[T]:
    """work(item) for every item, in order; memory holds as many clips as there are workers."""
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(tqdm(pool.map(work, items), total=len(items), desc=what, unit="clip"))


class Table:
    """Rows by network, set aside whole at the first clip.

    Small tensors kept one by one among a worker's large ones keep their pages from being used again: memory then grows
    with every clip (measured: 0.3 MB a clip for rows of 22 KB).
    """

    def __init__(self, count: int) -> None:
        self.count, self.rows = count, dict[str, Rows]()
        self._lock = threading.Lock()

    def put(self, i: int, kind: str, row: Tensor) -> None:
        """Row i of a network; from any thread."""
        with self._lock:
            if kind not in self.rows:
                self.rows[kind] = torch.empty(self.count, len(row), dtype=row.dtype)
        self.rows[kind][i] = row


def rows_of(
    nets: Mapping[str, Extractor],
    read: Callable[[int], Frames],
    count: int,
    workers: int,
    what: str,
    measure: Callable[[int, Frames], T] = lambda i, frames: None,  # type: ignore[assignment,return-value]
) -> tuple[dict[str, Rows], list[T]]:
    """Every network's rows of clips 0 to count - 1, and what `measure` gives for each clip."""
    table = Table(count)

    def look(i: int) -> T:
        frames = read(i)
        for kind, net in nets.items():
            table.put(i, kind, net.row(frames))
        return measure(i, frames)

    looked = each(look, range(count), workers, what)
    return {k: table.rows[k] for k in nets}, looked


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside the block, on what it had after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rows_of_real(clips: Sequence[RealClip], net: Extractor, digest: str, workers: int, what: str) -> Rows:
    """Feature rows of real clips, from the cache if they were measured before."""
    ids = ",".join(c.id for c in clips)
    key = hashlib.sha256(
        f"{sources(*SEERS)}/{torch.__version__}/{net.kind}/{net.hash}/{digest}/{ids}".encode()
    ).hexdigest()[:24]
    path = cache_folder() / "features" / f"{key}.safetensors"
    try:
        return load_file(path)["rows"]
    except (OSError, SafetensorError, KeyError):
        found, _ = rows_of({net.kind: net}, lambda i: clips[i].read(), len(clips), workers, f"{what} {net.kind}")
        rows = found[net.kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        save_file({"rows": rows}, beside)
    return rows


def basis_of(net: Extractor, reference: Rows) -> Callable[[Rows], Rows]:
    """The protocol's axes, or the rows as they are."""
    return Basis(reference, net.dims) if net.dims else (lambda rows: rows.double())
