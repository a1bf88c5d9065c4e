"""Small networks of our own that stand beside a model's parts: a sub-folder of config.json and one safetensors file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.system.files import make_folder

SMALL, MATTE = "decoder", "matte"
"""Sub-folders of a model's folder."""
WEIGHTS, CONFIG = "diffusion_pytorch_model.safetensors", "config.json"
C = TypeVar("C", bound=BaseModel)
N = TypeVar("N", bound=nn.Module)


def save_side_part(part: nn.Module, config: BaseModel, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write both files; `dtype` casts what is stored."""
    make_folder(folder)
    tensors = {k: v.detach().to("cpu", dtype or v.dtype).contiguous() for k, v in part.state_dict().items()}
    with replacing(folder / CONFIG) as beside:
        beside.write_text(json.dumps({"_class_name": type(part).__name__, **config.model_dump()}, indent=2) + "\n")
    with replacing(folder / WEIGHTS) as beside:
        save_file(tensors, beside, {"format": "pt"})


def load_side_part(folder: Path, dtype: torch.dtype, schema: type[C], make: Callable[[C], N], what: str) -> N:
    """Open one strictly: all weights, and finite; `what` names it in messages."""
    cure = "train it again or delete it"
    try:
        kept = json.loads((folder / CONFIG).read_text())
        part = make(schema(**{k: v for k, v in kept.items() if k != "_class_name"}))
        part.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError, ValidationError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise SfvError(f"{folder} is not a whole {what} ({reason}); {cure}") from error
    if bad := [k for k, v in part.state_dict().items() if not bool(torch.isfinite(v).all())]:
        raise SfvError(f"{folder} holds weights that are not finite numbers ({bad[0]}); {cure}")
    return part.to(dtype).eval().requires_grad_(False)
