"""A run's figures for TensorBoard, where it is asked for."""

from pathlib import Path

from sfv.errors import SfvError
from sfv.training.logs import Logs


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
        for name, value in row.items():
            if name != "step":
                self.writer.add_scalar(name, value, int(row["step"]))
        self.writer.flush()


def no_tensorboard(row: Logs) -> None:
    """Where reports go without TensorBoard."""
