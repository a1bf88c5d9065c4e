"""Networks through OpenVINO: traced once for each shape of input, kept on disk, compiled for this CPU."""

import hashlib
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfv.errors import SfvError
from sfv.media import cache_folder
from sfv.speed.precision import in_float32

REVISION = 2
"""Raised when a network's graph changes for the same weights."""


class OpenVINO(nn.Module):
    """A network whose calls run in OpenVINO."""

    def __init__(self, network: nn.Module, stage: str, bf16: bool, weights: str) -> None:
        super().__init__()
        self.network, self.stage, self.bf16, self.weights = network, stage, bf16, weights
        self.compiled: dict[str, Any] = {}

    def forward(self, *given: Any, **named: Any) -> Any:
        """As the network's."""
        call = Flat(self.network, given, named)
        key = self._key(call)
        if key not in self.compiled:
            self.compiled[key] = self._compiled(call, key)
        arrays = [t.contiguous().numpy() for t in call.tensors]
        return torch.from_numpy(np.array(self.compiled[key](arrays)[0]))

    def _key(self, call: "Flat") -> str:
        """Of weights, stage, shapes, fixed arguments and versions."""
        import openvino

        shapes = [(tuple(t.shape), str(t.dtype)) for t in call.tensors]
        said = (REVISION, self.weights, self.stage, shapes, call.fixed(), openvino.__version__, torch.__version__)
        return hashlib.sha256(repr(said).encode()).hexdigest()[:24]

    def _compiled(self, call: "Flat", key: str) -> Any:
        """From the folder of traced graphs, else traced."""
        import openvino

        folder = cache_folder() / "openvino"
        path = folder / key / "graph.xml"
        try:
            core = openvino.Core()
            core.set_property({"CACHE_DIR": str(folder / "compiled")})
            graph = core.read_model(path) if path.exists() else keep(traced(call), path)
            hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            return core.compile_model(
                graph, "CPU", hints | {"INFERENCE_PRECISION_HINT": "bf16" if self.bf16 else "f32"}
            )
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise SfvError(f"OpenVINO cannot run {self.stage} ({reason}); use --backend eager or compile") from error


class Flat(nn.Module):
    """A network as a function of tensors alone; what else it was called with is fixed."""

    def __init__(self, network: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.given, self.named = network, given, named
        self.tensors = [v for v in (*given, *named.values()) if isinstance(v, Tensor)]

    def fixed(self) -> list[Any]:
        """Arguments that are no tensors, with their places."""
        every = (*enumerate(self.given), *self.named.items())
        return [(k, None if isinstance(v, Tensor) else v) for k, v in every]

    def forward(self, *tensors: Tensor) -> Tensor:
        """Its one result."""
        left = iter(tensors)
        given = [next(left) if isinstance(v, Tensor) else v for v in self.given]
        named = {k: next(left) if isinstance(v, Tensor) else v for k, v in self.named.items()}
        out: Tensor = self.network(*given, **named)
        return out


def traced(call: Flat) -> Any:
    """OpenVINO's graph of a call, in float32; traced as if for training, where no step works in place."""
    import openvino

    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad(), in_float32(call.network):
        warnings.simplefilter("ignore")
        example = tuple(t.clone() for t in call.tensors)
        return openvino.convert_model(torch.export.export(call.eval(), example, strict=False))


def keep(graph: Any, path: Path) -> Any:
    """Save a graph; a kill leaves no half of it."""
    import openvino

    beside = path.parent.with_name(f".{path.parent.name}.{os.getpid()}")
    beside.mkdir(parents=True, exist_ok=True)
    openvino.save_model(graph, beside / path.name, compress_to_fp16=False)
    shutil.rmtree(path.parent, ignore_errors=True)
    os.replace(beside, path.parent)
    return graph
