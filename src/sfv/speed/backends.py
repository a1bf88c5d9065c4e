"""What runs a network: eager torch, torch.compile, CUDA graphs, OpenVINO. All alike but for rounding and time."""

import importlib.util
import os
import shutil
from typing import Any

import torch
from torch import nn

from sfv.errors import SfvError
from sfv.speed.precision import _computes_bf16, cast

BACKENDS = ("eager", "compile", "graphs", "openvino")


def refusal(backend: str, device: torch.device) -> str:
    """Why a backend cannot be used here; empty if it can."""
    if backend == "compile" and device.type == "cpu" and not _compiler():
        return "backend compile needs a C++ compiler; install g++, or use --backend eager"
    if backend == "graphs" and device.type != "cuda":
        return f"backend graphs is for NVIDIA GPUs, not {device.type}; use compile or eager"
    if backend == "openvino" and device.type != "cpu":
        return f"backend openvino is for CPUs, not {device}; use compile or eager"
    if backend == "openvino" and importlib.util.find_spec("openvino") is None:
        return 'backend openvino needs OpenVINO: pip install "sfv[openvino]"'
    return ""


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")


def build(backend: str, stage: str, network: nn.Module, dtype: torch.dtype | None, weights: str) -> Any:
    """A module that is called as `network` is; `dtype` is what it computes in (None: as it is), `weights` its hash."""
    if backend == "openvino":
        from sfv.speed.openvino import OpenVINO

        return OpenVINO(network, stage, dtype == torch.bfloat16 or _computes_bf16(network), weights)
    network_cast = cast(network, dtype)
    if next(network_cast.parameters()).is_cuda:
        from sfv.speed.cuda import OnGPU

        return OnGPU(network_cast, backend == "compile", backend in ("compile", "graphs"))
    return Compiled(network_cast, stage) if backend == "compile" else network_cast


class Compiled(nn.Module):
    """A network through torch.compile, anew for each shape of input."""

    def __init__(self, network: nn.Module, stage: str) -> None:
        super().__init__()
        self.network, self.stage = network, stage
        self.compiled = [torch.compile(network, dynamic=False)]  # in a list, or its weights would be listed twice

    def forward(self, *given: Any, **named: Any) -> Any:
        """As the network's. SfvError where torch cannot compile it."""
        try:
            return self.compiled[0](*given, **named)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise SfvError(f"torch.compile cannot run {self.stage} ({reason}); use --backend eager") from error
