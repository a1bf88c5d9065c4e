"""What the kernels become on a Hopper GPU, compiled here without one: registers, stack, 16-byte accesses.

    python runs/full_size/kernel_resources.py [OUT.json]

At SVD's sizes in bfloat16, for compute capability 9.0. Stack means spilled registers. Says nothing about speed, but a
kernel bound by bandwidth wants no stack and wide accesses.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sfv.kernels import geglu, group_norm_silu, scaled_softmax, temporal_attention

STRIDES = ("q0", "q1", "k0", "k1", "v0", "v1", "o0", "o1")
FLOATS, HALVES = ("mean", "square", "stats", "scores"), ("x", "weight", "bias", "q", "k", "v", "projected", "out")
WHOLE, ROUND = ("rows", "parts", "each", "groups", "blocks", "pairs", "frames"), ("c", "n", "size", *STRIDES)
TYPES = dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(HALVES, "*bf16") | dict.fromkeys(("eps", "scale"), "fp32")
TYPES |= dict.fromkeys((*WHOLE, *ROUND), "i32")
"""Of arguments by name; those of ROUND are multiples of 16 at SVD's sizes, as Triton sees when it is called."""
TILE = {"TALL": 32, "WIDE": 128}

CASES: dict[str, tuple[Any, dict[str, Any], dict[str, int]]] = {
    "norm: parts": (group_norm_silu._parts, TILE, {}),
    "norm: join": (group_norm_silu._join, {"SIZE": 4, "WIDE": 4, "TALL": 512, "MANY": 1}, {}),
    "norm: apply": (group_norm_silu._apply, TILE | {"SIZE": 4, "TIMES": 4, "SILU": True}, {}),
    "attention, 14 frames": (temporal_attention._attend, {"D": 64, "T": 16, "WIDEN": False}, {"num_warps": 1}),
    "attention, 25 frames": (temporal_attention._attend, {"D": 64, "T": 32, "WIDEN": False}, {"num_warps": 1}),
    "geglu": (geglu._geglu, {"SIZE": 2048}, {}),
    "softmax of 9216": (scaled_softmax._rows, {"WIDE": 16384}, {"num_warps": 8}),
}


def compiled(kernel: Any, constants: dict[str, Any], options: dict[str, int]) -> Any:
    """For an H100."""
    names = list(kernel.arg_names)
    types = {n: "constexpr" if n in constants else TYPES[n] for n in names}
    even = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if types[n][0] == "*" or n in ROUND}
    fixed = {(names.index(k),): v for k, v in constants.items()}
    source = ASTSource(fn=kernel, signature=types, constexprs=fixed, attrs=even)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def resources(binary: Any) -> dict[str, int]:
    """Registers and stack bytes of a thread, accesses of 16 bytes and all accesses to global memory."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary.asm["cubin"])
        said = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    found = {k.lower(): int(v) for k, v in re.findall(r"\b(REG|STACK):(\d+)", said.stdout + said.stderr)}
    ptx = binary.asm["ptx"]
    wide = len(re.findall(r"(?:ld|st)\.global[.\w:]*\.v[48]", ptx))
    return {"registers": found["reg"], "stack": found["stack"], "wide": wide, "accesses": len(_accesses(ptx))}


def _accesses(ptx: str) -> list[str]:
    return re.findall(r"(?:ld|st)\.global", ptx)


def main(arguments: list[str]) -> int:
    """Exit code."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        print("error: nothing is compiled with TRITON_INTERPRET=1; unset it", file=sys.stderr)
        return 1
    result = {name: resources(compiled(*case)) for name, case in CASES.items()}
    for name, row in result.items():
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in row.items()))
    if arguments:
        Path(arguments[0]).write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
