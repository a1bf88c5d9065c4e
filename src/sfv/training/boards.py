"""Where a run's figures go beside log.jsonl, if it is asked for: TensorBoard, Weights & Biases, or both."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.training.config import Schedule
from sfv.training.logs import Logs


class Board(Protocol):
    """Takes every report of a run."""

    def __call__(self, row: Logs) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """TensorBoard's event files; a resumed run goes on where it was."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SfvError('tensorboard=True needs TensorBoard; pip install "sfv[train]"') from error
        self.writer = SummaryWriter(str(folder), purge_step=step or None)

    def __call__(self, row: Logs) -> None:
        """Write one report."""
        for name, value in figures(row).items():
            self.writer.add_scalar(name, value, int(row["step"]))
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


class WeightsAndBiases:
    """A run of a Weights & Biases project; its id is kept in the run folder, so that a resumed run is the same one."""

    def __init__(self, run_dir: Path, project: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise SfvError(f"wandb={project} needs Weights & Biases; pip install wandb") from error
        path = run_dir / "wandb.json"
        if not path.exists():
            with replacing(path) as beside:
                beside.write_text(json.dumps({"id": secrets.token_hex(4)}) + "\n")
        mark = json.loads(path.read_text())["id"]
        try:
            self.run = wandb.init(
                project=project, id=mark, resume="allow", name=run_dir.name, dir=str(run_dir), config=config
            )
        except Exception as error:  # its own errors have no common class
            raise SfvError(f"wandb={project}: {error}; `wandb login`, or set WANDB_MODE=offline") from error

    def __call__(self, row: Logs) -> None:
        """Send one report."""
        self.run.log(figures(row), step=int(row["step"]))

    def close(self) -> None:
        """Send what waits."""
        self.run.finish()


def figures(row: Logs) -> Logs:
    """A report without its step."""
    return {k: v for k, v in row.items() if k != "step"}


@contextmanager
def boards(run_dir: Path, schedule: Schedule, config: dict[str, Any], step: int, main: bool) -> Iterator[list[Board]]:
    """Those that `schedule` asks for, on the main rank; closed after the block."""
    asked: list[Board] = []
    if main and schedule.tensorboard:
        asked.append(TensorBoard(run_dir / "tensorboard", step))
    if main and schedule.wandb:
        asked.append(WeightsAndBiases(run_dir, schedule.wandb, config))
    try:
        yield asked
    finally:
        for board in asked:
            board.close()
