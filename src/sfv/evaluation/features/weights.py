"""Safetensors files of feature networks, checked by hash; what the networks share."""

import hashlib
from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sfv.errors import SfvError

Row = Float[Tensor, " n"]
Weights = dict[str, Tensor]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of a folder's safetensors and JSON files; SfvError if there is none."""
    digest = hashlib.sha256()
    try:
        if not path.is_dir():
            return _digest(path).hex()
        for part in sorted(p for p in path.iterdir() if p.suffix in (".json", ".safetensors")):
            digest.update(_digest(part))
    except OSError as error:
        raise SfvError(f"{path} is missing or cannot be read ({error}); see --weights in the help") from error
    return digest.hexdigest()


def _digest(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def checked(path: Path, sha256: str | None) -> str:
    """The file's hash; SfvError if a protocol names another."""
    found = file_hash(path)
    if sha256 and found != sha256:
        raise SfvError(f"{path} has SHA-256 {found}, the protocol wants {sha256}; get the file that it names")
    return found


def read_weights(path: Path) -> Weights:
    """In float32."""
    try:
        return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise SfvError(f"{path} is missing or damaged ({error}); see --weights in the help") from error


def batch_norm(x: Tensor, w: Weights, at: str, eps: float = 1e-3) -> Tensor:
    """By the running statistics under `at`."""
    stats = (w[f"{at}.running_mean"], w[f"{at}.running_var"], w[f"{at}.weight"], w[f"{at}.bias"])
    return F.batch_norm(x, *stats, eps=eps)
