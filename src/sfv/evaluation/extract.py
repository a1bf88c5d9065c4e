"""Work over many clips by several threads, one clip and one torch thread each: the same digits however many there are.

Rows of real clips are kept on disk under the hash of their pixels and of the network.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from sfv.evaluation.clipsets import RealClip
from sfv.evaluation.features import Extractor
from sfv.media import replacing
from sfv.metrics import Basis, Rows

S = TypeVar("S")
T = TypeVar("T")
ROWS_REVISION = 1
"""Raised when a network's rows change for the same weights."""


def each(work: Callable[[S], T], items: Sequence[S], workers: int, what: str) -> list[T]:
    """work(item) for every item, in order; memory holds as many clips as there are workers."""
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(tqdm(pool.map(work, items), total=len(items), desc=what, unit="clip"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside the block, on what it had after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cache_folder() -> Path:
    """$SFV_CACHE, or ~/.cache/sfv."""
    return Path(os.environ.get("SFV_CACHE") or Path.home() / ".cache" / "sfv")


def rows_of_real(clips: Sequence[RealClip], net: Extractor, digest: str, workers: int, what: str) -> Rows:
    """Feature rows of real clips, from the cache if they were measured before."""
    ids = ",".join(c.id for c in clips)
    key = hashlib.sha256(f"{ROWS_REVISION}/{net.kind}/{net.hash}/{digest}/{ids}".encode()).hexdigest()[:24]
    path = cache_folder() / "features" / f"{key}.safetensors"
    try:
        return load_file(path)["rows"]
    except (OSError, SafetensorError, KeyError):
        rows = torch.stack(each(lambda c: net.row(c.read()), clips, workers, f"{what} {net.kind}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        save_file({"rows": rows.contiguous()}, beside)
    return rows


def basis_of(net: Extractor, reference: Rows) -> Callable[[Rows], Rows]:
    """The protocol's axes, or the rows as they are."""
    return Basis(reference, net.dims) if net.dims else (lambda rows: rows.double())
