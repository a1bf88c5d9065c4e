"""A model's networks as ONNX files, for runtimes that are not torch."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

import sfv
from sfv.errors import SfvError
from sfv.families.load import graphs, load, rewritten
from sfv.speed.precision import in_float32
from sfv.system.files import not_in_the_way, replacing

MARK = "onnx.json"
"""Beside the files: who wrote them, of which model, and the shapes of their inputs."""
LARGE = 1_800_000_000
"""Bytes of weights from which they lie in a file of their own, since one ONNX file holds 2 GB."""


def export_onnx(folder: Path, out: Path) -> list[Path]:
    """Write unet.onnx, decoder.onnx and, where there is one, small-decoder.onnx into a folder: exact rewrites, float32,
    the model's own size, one clip at a time.

    The UNet takes (sample, timestep, encoder_hidden_states, added_time_ids) as diffusers' does: c_in * x with the
    picture's latents on channels, c_noise, the picture's embedding, ids. Of a model of whole loops picture.onnx gives
    what stands for both, and the decoder takes the picture (RGBA, colours multiplied with alpha). onnx.json has the
    inputs' shapes. Raises SfvError where a package is missing, or `out` holds such files that sfv did not write.
    """
    if missing := [p for p in ("onnx", "onnxscript") if importlib.util.find_spec(p) is None]:
        raise SfvError(f'exporting to ONNX needs {missing[0]}: pip install "sfv[onnx]"')
    model = rewritten(load(folder, "cpu", torch.float32))
    networks = graphs(model)
    not_in_the_way(out / MARK, {"sfv", "inputs"}, [out / name for name in networks])
    out.mkdir(parents=True, exist_ok=True)
    inputs = {name: {k: list(v.shape) for k, v in given.items()} for name, (_, given) in networks.items()}
    with replacing(out / MARK) as beside:
        beside.write_text(json.dumps({"sfv": sfv.__version__, "model": model.name, "inputs": inputs}, indent=1))
    return [_write(network, given, out / name) for name, (network, given) in networks.items()]


def _write(network: nn.Module, inputs: dict[str, Tensor], path: Path) -> Path:
    large = sum(p.numel() * p.element_size() for p in network.parameters()) > LARGE
    given = tuple(v.clone() for v in inputs.values())
    outputs = ["features", "token"] if path.stem == "picture" else ["out"]
    with _calm(), in_float32(network), replacing(path) as beside:
        program = torch.export.export(network.eval(), given, strict=False)
        torch.onnx.export(
            program,
            given,
            str(path if large else beside),
            input_names=list(inputs),
            output_names=outputs,
            dynamo=True,
            verbose=False,
            external_data=large,
        )
        if large:
            path.rename(beside)  # its weights lie beside it under the final name
    return path


@contextmanager
def _calm() -> Iterator[None]:
    """torch traces as if for training, where no step works in place, and without the exporter's remarks."""
    voice = logging.getLogger("torch.onnx")
    before = voice.level
    voice.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        voice.setLevel(before)
