"""Real training steps of the full-size presets on random weights and latents: seconds, memory, rate; kill and resume.

Shared: one generator forward and one frozen pass serve both updates. Naive: each update makes and sees its own, and
clips are encoded on the way unless that is measured apart.
"""

import json
import math
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfv.adversary.discriminator import Discriminator
from sfv.costs.roofline import Ceilings, Roofline, once
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange
from sfv.errors import SfvError
from sfv.families.base import Codec
from sfv.families.load import random_parts
from sfv.families.svd.checkpointing import Recomputed, units
from sfv.training.batches import ClipSampler, Picked
from sfv.training.config import StudentTraining
from sfv.training.loop import run
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.presets import PRESETS
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond

Result = dict[str, Any]
DATASHEET = 989e12
"""FLOP/s of an H100 SXM in bf16, the whole that shares refer to."""
SVD_NOISE = NoiseRange(0.002, 700.0)
LIMIT = 240.0
"""Seconds after which a child that has saved nothing is given up."""


class Fake(ClipSampler):
    """Latents, embeddings and condition latents of the right shapes; no codec is held, as with encoded shards."""

    device: torch.device = torch.device("cpu")  # type: ignore[assignment]

    def __init__(self, clip: tuple[int, int, int], embed: int, device: torch.device) -> None:
        self.clip, self.embed, self.device = clip, embed, device

    def pick(self, rngs: Rngs) -> Picked:
        """There is nothing to pick from."""
        raise NotImplementedError

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Tensor, Cond]:
        """(b, f, 4, h / 8, w / 8) and its cond, all noise."""
        f, y, x = self.clip[0], self.clip[1] // 8, self.clip[2] // 8
        cond = {
            "image_latents": rngs.normal(4, y, x),
            "image_embeds": rngs.normal(1, self.embed),
            "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]).repeat(len(rngs), 1),
        }
        return rngs.normal(f, 4, y, x).to(self.device), {k: v.to(self.device) for k, v in cond.items()}


def preset(name: str) -> StudentTraining:
    """A preset's student, one clip at a time."""
    config = PRESETS[name]["student"][-1]
    assert isinstance(config, StudentTraining)
    return config.model_copy(update={"accumulate": 1, "head_start": 0})


def task(config: StudentTraining, teacher: Denoiser, clip: tuple[int, int, int], device: torch.device) -> StudentTask:
    """Of random weights."""
    unet: Any = teacher.unet
    return StudentTask(teacher, Fake(clip, int(unet.config.cross_attention_dim), device), config, SVD_NOISE)


def steps(name: str, size: str, clip: tuple[int, int, int], device: torch.device, rounds: int) -> Result:
    """A preset's steps: shared, naive and naive with the clip's encoding interleaved on one task, then the shared one
    with compiled blocks (on a GPU)."""
    config = preset(name)
    teacher, codec = random_parts(size, device)
    one = task(config, teacher, clip, device)
    work = arithmetic(one, config, clip, device)
    reset(device)
    logs = one.step(0, Seeds(0, 0))
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    taken = shared_and_naive(one, config, codec, clip, rounds)
    failed = ""
    if device.type == "cuda":
        try:
            taken["shared compiled"] = compiled(one, rounds)
        except RuntimeError as error:  # what was measured before is kept
            failed = str(error).strip().splitlines()[0]
    seconds = {k: statistics.median(v[len(v) > 2 :]) for k, v in taken.items()}
    return {
        "clip": clip,
        "peak_gb": peak,
        "rounds": rounds,
        "seconds_per_sample": {k: v / config.clips for k, v in seconds.items()},
        "tflop": {k: v / 1e12 for k, v in work.items()},
        "mfu": {k: work[k.split()[0]] / v / DATASHEET for k, v in seconds.items()},
        "finite": all(map(math.isfinite, logs.values())),
        "last": logs,
        "compile_failed": failed,
    }


def shared_and_naive(
    one: StudentTask, config: StudentTraining, codec: Codec, clip: tuple[int, int, int], rounds: int
) -> dict[str, list[float]]:
    """Seconds of both steps in turn, and of the naive one after encoding the clip."""
    device = one.batches.device
    pixels = torch.rand(config.clips, clip[0], 3, *clip[1:], device=device).mul_(2).sub_(1)
    ways: dict[str, tuple[bool, Callable[[], Any]]] = {
        "shared": (True, lambda: None),
        "naive": (False, lambda: None),
        "naive and codec": (False, lambda: encoded(codec, pixels)),
    }
    taken: dict[str, list[float]] = {k: [] for k in ways}
    for step in range(rounds):
        for name, (shared, before) in ways.items():
            one.config = config.model_copy(update={"shared": shared})
            taken[name].append(once(lambda s=step, b=before: (b(), one.step(s, Seeds(0, s))), device)[1])  # type: ignore[misc]
    one.config = config
    return taken


@torch.no_grad()
def encoded(codec: Codec, pixels: Tensor) -> Tensor:
    """Latents of clips, a frame at a time to spare memory."""
    return torch.cat([codec.encode(part) for part in pixels.split(1, 1)], 1)


def compiled(one: StudentTask, rounds: int) -> list[float]:
    """Seconds of the shared step with every recomputed unit of both networks compiled, once that is done."""
    import torch._dynamo

    networks: list[Any] = [one.G, one.D.backbone]
    for unit in {id(u): u for network in networks for u in units(network)}.values():
        if isinstance(unit.forward, Recomputed):
            unit.forward.plain = torch.compile(unit.forward.plain, dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=256):  # type: ignore[attr-defined]
        for step in range(2):
            one.step(step, Seeds(0, step))
        device = one.batches.device
        return [once(lambda s=step: one.step(s, Seeds(0, s)), device)[1] for step in range(rounds)]  # type: ignore[misc]


@torch.no_grad()
def arithmetic(
    one: StudentTask, config: StudentTraining, clip: tuple[int, int, int], device: torch.device
) -> dict[str, float]:
    """FLOP of a step without recomputation: F of the generator forward, E of the frozen encoder's.

    Shared: F and its backward (F for the input, F for the weights of a generator that learns whole), the fake clip's
    E and its backward to the input, the real clip's E. Naive: one F and two E more, and the real clip's once again.
    """
    x0, cond = one.batches.draw(Seeds(0, 0).clips(config.clips))
    sigma = torch.full((config.clips,), 7.0, device=device)
    passes: dict[str, Callable[[Denoiser, Discriminator], Any]] = {
        "F": lambda G, D: G(x0, sigma, cond),
        "E": lambda G, D: D.features(x0, sigma, cond),
    }
    found: dict[str, float] = {}
    for name, call in passes.items():
        with Roofline(Ceilings(1, 1, 1)) as counted, torch.autocast(device.type, torch.bfloat16):
            call(one.G, one.D)
        found[name] = float(counted.flops)
    F, E = found["F"], found["E"]
    whole = 2 if config.lora else 3
    return found | {"shared": whole * F + 3 * E, "naive": (whole + 1) * F + 5 * E}


def resumed(name: str, size: str, clip: tuple[int, int, int], device: torch.device, folder: Path) -> Result:
    """A run is killed after its first checkpoint and started again: where it went on, and seconds of all that."""
    command = [sys.executable, __file__, name, size, json.dumps(clip), str(device), str(folder)]
    began = time.monotonic()
    first = subprocess.Popen([*command, "1000"], stdout=subprocess.DEVNULL)
    try:
        _wait(first, folder / "state.safetensors")
        saved = time.monotonic() - began
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    size_gb = (folder / "state.safetensors").stat().st_size / 1e9
    began = time.monotonic()
    done = subprocess.run([*command, "2"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SfvError(f"the killed run could not be resumed: {done.stderr.strip().splitlines()[-1]}")
    again = json.loads(done.stdout.strip().splitlines()[-1])
    return {"first_seconds": saved, "again_seconds": time.monotonic() - began, "checkpoint_gb": size_gb, **again}


def _wait(child: subprocess.Popen[bytes], path: Path) -> None:
    began = time.monotonic()
    while not path.exists():
        if child.poll() is not None or time.monotonic() - began > LIMIT:
            raise SfvError(f"the training run wrote no {path.name} within {LIMIT:.0f} s; see its messages above")
        time.sleep(0.05)


def child(name: str, size: str, clip: tuple[int, int, int], device: torch.device, folder: Path, more: int) -> None:
    """Train a preset `more` steps on from where the folder stands, a checkpoint after each; tells where it began."""
    path = folder / "log.jsonl"
    before = len(path.read_text().splitlines()) if path.exists() else 0
    config = preset(name).model_copy(update={"steps": before + more, "save_minutes": 0.002, "log_every": 1})
    one = task(config, random_parts(size, device)[0], clip, device)
    run(one, config, folder, {"preset": name, "size": size})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print(json.dumps({"killed_after": before, "resumed_at": rows[before]["step"], "ended_at": rows[-1]["step"]}))


def reset(device: torch.device) -> None:
    """Count peaks anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    child(
        arguments[0],
        arguments[1],
        tuple(json.loads(arguments[2])),
        torch.device(arguments[3]),
        Path(arguments[4]),
        int(arguments[5]),
    )  # type: ignore[arg-type]
