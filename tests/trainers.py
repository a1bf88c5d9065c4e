"""`sfv train` as tests call it: on the CPU, in few words."""

from pathlib import Path
from typing import Any

from sfv.costs.outlook import outlook
from sfv.training.config import TrainRequest
from sfv.training.train import train


def train_part(part: str, store: Path, model: Path, preset: str, set_: tuple[str, ...] = (), **more: Any) -> str:
    return train(TrainRequest(part=part, store=store, model=model, preset=preset, set_=set_, device="cpu", **more))


def dry_run(part: str, preset: str, set_: tuple[str, ...] = (), init: Path | None = None) -> dict[str, Any]:
    here = Path(".")
    return outlook(TrainRequest(part=part, store=here, model=here, preset=preset, set_=set_, init=init, device="cpu"))
