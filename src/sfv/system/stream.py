"""A safetensors file written one tensor after another, so that memory holds one copy, not two of all."""

import json
import struct
from collections.abc import Mapping
from typing import BinaryIO

import torch
from torch import Tensor

NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Of the format (github.com/huggingface/safetensors, README): header length, header as JSON, then the data."""


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, metadata: Mapping[str, str]
) -> None:
    """All tensors in `dtype` (whole numbers as they are; None: each in its own), in their order."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, value in tensors.items():
        kept = dtype if dtype and value.is_floating_point() else value.dtype
        begin, end = end, end + value.numel() * kept.itemsize
        header[name] = {"dtype": NAMES[kept], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for value in tensors.values():
        kept = dtype if dtype and value.is_floating_point() else value.dtype
        cast = value.detach().cpu().to(kept).contiguous()
        file.write(cast.reshape(-1).view(torch.uint8).numpy().data)
