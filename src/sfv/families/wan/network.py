"""diffusers' network classes on disk: config.json beside safetensors files, read strictly."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.svd.network import DIFFUSERS, first_reason, read_json, read_tensors, weight_files, write_json
from sfv.families.svd.stock_networks import quiet
from sfv.media import replacing
from sfv.system.files import make_folder

STEM = "diffusion_pytorch_model"
WHOLE = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
"""Parts of the transformer that diffusers keeps in float32 whatever the rest is opened in."""


def on_meta(cls: Any, config: dict[str, Any]) -> Any:
    """Shapes without memory; frozen. Raises what diffusers raises for a configuration that is wrong."""
    with torch.device("meta"), quiet():
        return cls.from_config(config).eval().requires_grad_(False)


def described_by(cls: Any, folder: Path) -> Any:
    """What a folder's config.json says, on the meta device; SfvError where that is no such network."""
    if not folder.is_dir():
        raise SfvError(f"{folder} is missing; a Wan folder has transformer, vae, scheduler, tokenizer, text_encoder")
    config = read_json(folder / "config.json")
    if config.get("_class_name", cls.__name__) != cls.__name__:
        raise SfvError(f"{folder} holds a {config['_class_name']}, not a {cls.__name__}; fetch it again")
    try:
        return on_meta(cls, config)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError, IndexError) as error:
        raise SfvError(f"{folder} cannot be opened ({first_reason(error)}); fetch or export it again") from error


def opened(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Read a folder, strictly: no weight missing, unexpected, of another shape or not finite; frozen.

    Raises SfvError with one sentence.
    """
    network = described_by(cls, folder)
    state = read_tensors(weight_files(folder), dtype, WHOLE if hasattr(network, "rope") else ())
    _check(network, state, folder)
    network.load_state_dict(state, assign=True)
    if hasattr(network, "rope"):  # its tables are no weights: they are not in the file
        settings = network.config
        network.rope = type(network.rope)(
            settings.attention_head_dim, settings.patch_size, settings.rope_max_seq_len
        ).eval()
    return network.requires_grad_(False)


def _check(network: Any, state: dict[str, Tensor], folder: Path) -> None:
    wanted = {k: v.shape for k, v in network.state_dict().items()}
    for name in (*wanted, *state):
        if name not in state or name not in wanted or state[name].shape != wanted[name]:
            raise SfvError(f"{folder} does not hold the weights its config.json asks for (first: {name})")
    for name, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise SfvError(f"{folder} holds weights that are not finite numbers ({name}); fetch or train it again")


def store(network: Any, folder: Path, dtype: torch.dtype | None) -> None:
    """Write config.json and weights, in another precision if asked."""
    make_folder(folder)
    state = {k: v.to(dtype or v.dtype).contiguous() for k, v in network.state_dict().items()}
    with replacing(folder / f"{STEM}.safetensors") as beside:
        save_file(state, beside, {"format": "pt"})
    kept = {k: v for k, v in network.config.items() if not k.startswith("_")}
    write_json(folder / "config.json", {"_class_name": type(network).__name__, "_diffusers_version": DIFFUSERS, **kept})
