"""A file written tensor by tensor is the one that safetensors writes."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sfv.system.stream import write_tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_written_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {"a": base, "turned": base.T, "number": torch.tensor(3), "one": torch.tensor(0.5), "none": base[:0]}
    with open(tmp_path / "x.safetensors", "wb") as file:
        write_tensors(file, tensors, dtype, {"notice": "ours"})
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(read[name], value.to(dtype) if value.is_floating_point() else value)
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert opened.metadata() == {"notice": "ours"}
