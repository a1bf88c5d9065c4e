"""Any model of any family on video shards: teacher (fine-tuning), student or small decoder, into a model folder."""

from dataclasses import replace
from pathlib import Path

import torch

from sfv.data.shards import ClipShards, read_index
from sfv.decoding.decoder import save_decoder
from sfv.decoding.folder import SMALL
from sfv.errors import SfvError
from sfv.families.base import Codec, VideoModel, fingerprint
from sfv.families.load import load, save_denoiser
from sfv.settings import Defaults
from sfv.system.device import pick_device
from sfv.training.batches import VideoBatches
from sfv.training.begun import beginning, begun, is_own, networks_of
from sfv.training.config import Stages, TeacherTraining
from sfv.training.objectives.decoder import train_decoders
from sfv.training.objectives.denoising import train_teacher
from sfv.training.objectives.distil import called_once, train_chain
from sfv.training.parallel import World
from sfv.training.run_folder import finish, is_finished, settle


def is_videos(folder: Path) -> bool:
    """Whether a folder was made by `sfv encode`."""
    return (folder / "plan.json").exists()


def codec_mark(shards: Path, codec: Codec) -> str:
    """A codec's fingerprint as the shards know it: in float16 if a GPU encoded them, else in float32."""
    marks = [fingerprint(codec), fingerprint(codec, torch.float16)]
    known = read_index(shards)[0]["codec"]
    return known if known in marks else marks[0]


def _opened(init: str, device: torch.device) -> VideoModel:
    """The model that training begins with, in float32. Its network waits on the CPU until the objective has halved or
    divided it, so that no card holds it whole in float32 before; the picture tower stays there: shards hold what it
    makes."""
    model = load(init, "cpu", torch.float32)
    for part in (model.codec, model.small):
        if part is not None:
            part.to(device)
    return model


def train_on_videos(
    part: str, shards: Path, folder: Path, plan: Stages, init: Path | None, device: str, world: World
) -> None:
    """Train `part` of the model at `init` on shards made with its codec; the result is a whole model in `folder`."""
    if init is None:
        raise SfvError(f"{shards} holds videos; name the model to train with --init")
    model = _opened(str(init), pick_device(device))
    batches = VideoBatches(ClipShards(shards, codec_mark(shards, model.codec)), model.codec, model.conditioner)
    _check_unmerged(part, folder, plan, init)
    networks = (model.codec,) if part == "decoder" else networks_of(model)
    with begun(folder / "runs" / part, beginning(networks, shards, init, folder), world):
        if world.main:
            settle(model, folder)
        _train(part, model, batches, plan, folder, world)


def _train(part: str, model: VideoModel, batches: VideoBatches, plan: Stages, folder: Path, world: World) -> None:
    """Train `part` and write what came of it into the model folder."""
    stage, run_dir = plan[-1], folder / "runs" / part
    if part == "decoder":
        if world.size > 1:
            raise SfvError("a small decoder is trained by one process; start without torchrun")
        return save_decoder(train_decoders(model, batches, plan, run_dir), folder / SMALL)
    defaults = model.defaults
    if part == "student":
        trained = train_chain(model.denoiser, batches, plan, model.noise_range, run_dir, world)
        defaults = called_once(defaults, stage)
    elif isinstance(stage, TeacherTraining):
        D = model.denoiser.requires_grad_(True)
        trained = train_teacher(D, batches, stage, (model.sigma_min, model.sigma_max), run_dir, world)
    else:
        raise SfvError(f"{part} is not trained on video shards; choose teacher, student or decoder")
    if world.main:
        length = {"frames": batches.shards.frames, "fps": batches.shards.fps}  # the data's
        defaults = Defaults(**defaults.model_dump() | length)
        save_denoiser(replace(model, denoiser=trained, defaults=defaults), folder, "unet")
        finish(folder, part)


def _check_unmerged(part: str, folder: Path, plan: Stages, init: Path) -> None:
    """SfvError if adapters would be added to weights that hold them: a finished run that began with its own folder."""
    adapters = part == "student" and any(getattr(stage, "lora", 0) for stage in plan)
    if adapters and is_own(init, folder) and is_finished(folder, part):
        raise SfvError(
            f"{folder} holds its run's adapters already; begin with another folder by --init, or leave it as it is"
        )
