"""A model's networks as ONNX files with all that a clip needs, for programs without torch."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import sfv
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.family import Graph, Graphs
from sfv.families.load import check_apart, graphs, load, rewritten
from sfv.settings import MOVES
from sfv.speed.precision import in_float32
from sfv.system.files import make_folder, not_in_the_way, replacing
from sfv.system.progress import bar

MARK = "onnx.json"
"""Beside the files: who wrote them, of which model, and how a clip is made with them."""
EXAMPLE = "make_clip.py"
"""Beside the files of a model of whole loops: a clip by numpy, Pillow and ONNX Runtime."""
LARGE = 1_800_000_000
"""Bytes of weights from which they lie in a file of their own, since one ONNX file holds 2 GB."""
OPSET = 18
"""Of all ONNX files: the GridSample of opset 20 is missing in onnxruntime-web's WebGPU, the one before is there."""
MOST = 200
"""Frames that a graph takes at most, as Settings does."""
FEW = 256
"""Numbers below which a tensor stays float32: halving it saves nothing."""
Stored = Literal["float16", "float32"]


Kept = dict[str, tuple[str, ...]]
"""File name -> those of its outputs that are wanted."""


def export_onnx(folder: Path, out: Path, stored: str = "float32", kept: Kept | None = None) -> list[Path]:
    """Write a model's networks (docs/browser.md lists them) and onnx.json into a folder; exact rewrites, the model's
    own size, one clip at a time, any number of frames where an input's shape in onnx.json says "frames".

    Weights are `stored` in float16 or float32 and computed with in float32. Of a file in `kept` only the named outputs
    are written, and what is computed for others alone is left out. The UNet takes (sample, timestep,
    encoder_hidden_states, added_time_ids) as diffusers' does: c_in * x with the picture's latents on channels, c_noise,
    the picture's embedding, ids. onnx.json has shapes, noise levels, preconditioning and defaults. Raises SfvError
    where a package is missing, or `out` holds such files that sfv did not write.
    """
    if stored not in ("float16", "float32"):
        raise SfvError(f"precision {stored}: ONNX files are written with float16 or float32 weights; name one of them")
    if missing := [p for p in ("onnx", "onnxscript") if importlib.util.find_spec(p) is None]:
        raise SfvError(f'exporting to ONNX needs {missing[0]}: pip install "sfv[onnx]"')
    check_apart(folder, out)
    model = rewritten(load(folder, "cpu", torch.float32))
    networks = {name: _chosen(graph, (kept or {}).get(name)) for name, graph in graphs(model).items()}
    beside = [EXAMPLE] * (model.loops and not kept)
    not_in_the_way(out / MARK, {"sfv", "inputs"}, [out / name for name in (*networks, *beside)])
    make_folder(out)
    with replacing(out / MARK) as path:
        path.write_text(json.dumps(facts(model, networks), indent=1) + "\n")
    for name in beside:
        with replacing(out / name) as path:
            path.write_bytes((files("sfv") / "examples" / name).read_bytes())
    written = []
    with bar(desc="onnx", unit="file", total=len(networks)) as shown:
        for name, graph in networks.items():
            shown.set_postfix_str(name)  # before it is written, which takes minutes at SVD's size
            written.append(_write(graph, out / name, stored == "float16"))
            shown.update()
    return written


def facts(model: VideoModel, networks: Graphs) -> dict[str, Any]:
    """What onnx.json says: everything that a clip needs beside the networks."""
    defaults, codec = model.defaults, model.codec
    ids = ["fps - 1", "motion", "noise_aug" if model.limits.noised else "program"]
    return {
        "sfv": sfv.__version__,
        "model": Path(model.name).name,
        "weights": model.hash,
        "inputs": {name: {k: _shape(graph, k) for k in graph.inputs} for name, graph in networks.items()},
        "outputs": {name: list(graph.outputs) for name, graph in networks.items()},
        "picture": {"channels": codec.channels, "range": [-1, 1], "alpha": "colours are multiplied with it, in [0, 1]"},
        "latents": list(codec.latent_shape(defaults.frames, defaults.height, defaults.width)),
        "first_frame": "its latents are set to zero" if codec.conditioned else "made as the others",
        "noise": {
            "sigma_min": model.sigma_min,
            "sigma_max": model.sigma_max,
            "rho": model.rho,
            "start": "x = n * sqrt(sigma^2 + 1), n unit Gaussian; one step: sigma = sigma_max, and x0 is the clip",
        },
        "preconditioning": {
            "x0": "c_skip * x + c_out * unet(c_in * x beside image_latents, c_noise, image_embeds, added_time_ids)",
            "c_skip": "1 / (sigma^2 + 1)",
            "c_out": "-sigma / sqrt(sigma^2 + 1)",
            "c_in": "1 / sqrt(sigma^2 + 1)",
            "c_noise": "ln(sigma) / 4",
        },
        "added_time_ids": ids,
        "programs": {k: v for k, v in MOVES.items() if model.loops},
        "loops": model.loops,
        "defaults": defaults.model_dump(exclude_none=True),
    }


class Chosen(nn.Module):
    """Some of a network's outputs."""

    def __init__(self, network: nn.Module, places: list[int]) -> None:
        super().__init__()
        self.network, self.places = network, places

    def forward(self, *inputs: Any) -> Any:
        """A tuple of them."""
        outputs = self.network(*inputs)
        return tuple(outputs[i] for i in self.places)


def _chosen(graph: Graph, outputs: tuple[str, ...] | None) -> Graph:
    if outputs is None:
        return graph
    places = [graph.outputs.index(name) for name in outputs]
    return graph._replace(network=Chosen(graph.network, places), outputs=outputs)


def _shape(graph: Graph, name: str) -> list[int | str]:
    shape: list[int | str] = list(graph.inputs[name].shape)
    return [shape[0], "frames", *shape[2:]] if name == graph.frames else shape


def _write(graph: Graph, path: Path, halved: bool) -> Path:
    """Trace, write, and store the weights in float16 if they are to be `halved`."""
    network = graph.network
    large = sum(p.numel() * p.element_size() for p in network.parameters()) > LARGE
    with _calm(), in_float32(network), replacing(path) as beside:
        written = path if large else beside
        _trace(graph, network, written, large)
        if halved:
            _halve(written, large)
        if large:
            path.rename(beside)  # its weights lie beside it under the final name
    return path


def _trace(graph: Graph, network: nn.Module, path: Path, large: bool) -> None:
    given = tuple(v.clone() for v in graph.inputs.values())
    frames = torch.export.Dim("frames", min=2, max=MOST)
    free = [{1: frames} if name == graph.frames else None for name in graph.inputs]
    named: Any = None if graph.frames is None else ((tuple(free),) if isinstance(network, Chosen) else tuple(free))
    program = torch.export.export(network.eval(), given, dynamic_shapes=named, strict=False)
    torch.onnx.export(
        program,
        given,
        str(path),
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_shapes=named,
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
        external_data=large,
    )


def _halve(path: Path, large: bool) -> None:
    """Large float32 tensors of a file as float16 with a cast, which runtimes do once, as they open the file."""
    import onnx

    model = onnx.load(path)
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    most = np.finfo(np.float16).max
    halves = {k: v for k, v in weights.items() if v.dtype == np.float32 and v.size >= FEW and abs(v).max() < most}
    kept = [i for i in model.graph.initializer if i.name not in halves]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    casts = []
    for name, value in halves.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    del model.graph.value_info[:]
    data = f"{path.name}.data" if large else None
    if data:
        (path.parent / data).unlink()
    onnx.save(model, path, save_as_external_data=large, location=data)


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
