"""What SVD's three networks share: a configuration that is checked, and a folder in the layout that diffusers and
transformers open (config.json beside one safetensors file, or several).

The networks are ours, so that making a clip imports neither library; names of weights and of configuration fields are
theirs, and tests/families/svd/ holds every number to theirs.
"""

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.system.files import make_folder

DIFFUSERS, TRANSFORMERS = "0.42.1", "5.23.0"
"""Whose layouts are written; their older and newer versions open them too."""
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
LFS = b"version https://git-lfs"
"""How a pointer begins."""
VARIANTS = ("fp16", "bf16")
"""Of weights, where there are no plain ones; the first that is there is opened."""
N = TypeVar("N")
Opened = TypeVar("Opened", bound="Network")


class NetworkConfig(BaseModel):
    """config.json of one network; fields of other versions are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Network(nn.Module):
    """A network with its configuration."""

    Config: ClassVar[type[NetworkConfig]]
    config: Any
    stem: ClassVar[str] = "diffusion_pytorch_model"
    """Of its weights' files."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    @classmethod
    def on_meta(cls: "type[Opened]", **config: Any) -> "Opened":
        """Shapes without memory; frozen."""
        with torch.device("meta"):
            return cls(cls.Config.model_validate(config)).eval().requires_grad_(False)

    @classmethod
    def described_by(cls: "type[Opened]", folder: Path) -> "Opened":
        """What a folder's config.json says, on the meta device; SfvError where that is no such network."""
        try:
            return cls.on_meta(**read_json(folder / "config.json"))
        except (ValueError, RuntimeError, TypeError, ZeroDivisionError, IndexError) as error:
            reason = first_reason(error)
            raise SfvError(f"{folder} cannot be opened ({reason}); fetch or export it again") from error

    @classmethod
    def open(cls: "type[Opened]", folder: Path, dtype: torch.dtype) -> "Opened":
        """Read a folder, strictly: no weight missing, unexpected, of another shape or not finite; frozen.

        Raises SfvError with one sentence.
        """
        network = cls.described_by(folder)
        state = read_tensors(weight_files(folder), dtype)
        wrong = network._mismatched(state)
        if wrong:
            raise SfvError(f"{folder} does not hold the weights its config.json asks for (first: {wrong[0]})")
        for name, value in state.items():
            if not bool(torch.isfinite(value).all()):
                raise SfvError(f"{folder} holds weights that are not finite numbers ({name}); fetch or train it again")
        network.load_state_dict(state, assign=True)
        return network

    def store(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and weights, in another precision if asked."""
        make_folder(folder)
        kept = dtype or self.dtype
        state = {k: (v.to(kept) if v.is_floating_point() else v).contiguous() for k, v in self.state_dict().items()}
        with replacing(folder / f"{self.stem}.safetensors") as beside:
            save_file(state, beside, {"format": "pt"})
        write_json(folder / "config.json", self.described(kept))

    def described(self, dtype: torch.dtype) -> dict[str, Any]:
        """config.json, for weights of this precision."""
        return {
            "_class_name": self.theirs(),
            "_diffusers_version": DIFFUSERS,
            **self.config.model_dump(mode="json"),
        }

    def theirs(self) -> str:
        """The name of the class that opens it in diffusers or transformers."""
        raise NotImplementedError

    def _mismatched(self, state: dict[str, Tensor]) -> list[str]:
        """Names of weights that are missing, unexpected or of another shape."""
        wanted = {k: v.shape for k, v in self.state_dict().items()}
        return [k for k in (*wanted, *state) if k not in state or k not in wanted or state[k].shape != wanted[k]]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part: the plain ones if there, else one variant's; each header checked."""
    if not folder.is_dir():
        raise SfvError(f"{folder} is missing; an SVD folder has unet, vae, image_encoder, scheduler")
    files = sorted(folder.glob("*.safetensors"))
    plain = [f for f in files if len(f.name.split(".")) == 2]
    if not files:
        pickles = [f.name for p in PICKLES for f in folder.glob(f"*{p}")]
        why = f"only {pickles[0]}, a pickle, which is never opened" if pickles else "no safetensors file"
        raise SfvError(f"{folder} holds {why}; convert the weights to safetensors")
    variants = [[f for f in files if f.name.split(".")[1].startswith(v)] for v in VARIANTS]
    chosen = next((found for found in [plain, *variants] if found), files)
    for file in chosen:
        check_whole(file)
    return chosen


def variant_of(folder: Path) -> str | None:
    """The variant that `weight_files` chooses, as fp16; None for plain files."""
    _, *inner, _ = weight_files(folder)[0].name.split(".")
    return inner[0].split("-")[0] if inner else None


def check_whole(file: Path) -> None:
    """SfvError if a safetensors file is cut short, something else, or a pointer to a file that was never fetched."""
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        if _begins(file, LFS):
            raise SfvError(f"{file} is a Git LFS pointer, not the weights; fetch them with git lfs pull") from error
        raise SfvError(f"{file} is not a whole safetensors file ({error}); fetch it again") from error


def _begins(file: Path, start: bytes) -> bool:
    """Whether it can be read and begins so; no more of it is read."""
    try:
        with open(file, "rb") as opened:
            return opened.read(len(start)) == start
    except OSError:
        return False


def read_tensors(files: list[Path], dtype: torch.dtype, whole: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """All weights in `dtype`, those of parts that `whole` names in float32, in memory of their own.

    Weights mapped from a file are not 64-byte aligned and take other kernels, whose sums differ in the last digits.
    """
    state = {}
    for file in files:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                if name.endswith(".position_ids"):  # numbers that older versions of transformers kept
                    continue
                value = opened.get_tensor(name)
                kept = torch.float32 if set(name.split(".")) & set(whole) else dtype
                cast = value.to(kept) if value.is_floating_point() else value
                state[name] = cast.clone() if cast is value else cast
    return state


def first_reason(error: Exception) -> str:
    """One line of why a configuration is not valid."""
    if not isinstance(error, ValidationError):
        return str(error).strip().splitlines()[0]
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]


def each(value: N | tuple[N, ...], blocks: int) -> tuple[N, ...]:
    """One value for all blocks, or one for each."""
    return value if isinstance(value, tuple) else (value,) * blocks


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder; SfvError for anything else."""
    try:
        data = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SfvError(f"{path} is missing or not JSON ({error}); fetch or export the model again") from error
    if not isinstance(data, dict):
        raise SfvError(f"{path} must hold a JSON object; fetch or export the model again")
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Its inverse."""
    make_folder(path.parent)
    with replacing(path) as beside:
        beside.write_text(json.dumps(data, indent=2) + "\n")
