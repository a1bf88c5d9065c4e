"""`sfv train`: one part of a model, from a clip store or from video shards."""

from dataclasses import replace
from pathlib import Path

import torch

from sfv.data.stickers import ClipStore
from sfv.errors import SfvError
from sfv.families.load import keep_models, model_folder
from sfv.families.svd.sizes import STICKER, TINY
from sfv.system.device import pick_device
from sfv.training import sticker_parts
from sfv.training.begun import beginning, begun, networks_of
from sfv.training.config import TrainRequest
from sfv.training.loop_parts import is_loops, train_loops
from sfv.training.parallel import join
from sfv.training.presets import stages
from sfv.training.run_folder import adopt, resume, settle
from sfv.training.video_parts import is_videos, train_on_videos


def train(request: TrainRequest) -> str:
    """Train one part into a model folder; returns a sentence for the user. The same call resumes.

    Parts are trained in the order of presets.PARTS. SfvError names what is missing or contradicts.
    """
    part, folder, init, device = request.part, request.model, request.init, request.device
    plan = stages(request.preset, part, request.set_)
    keep_models(folder, "name a new folder, and begin with a model that is there by --init")
    if request.threads:
        torch.set_num_threads(request.threads)
    _check_store(request.store)
    world = join(request.parallel)
    if is_videos(request.store):
        train_on_videos(part, request.store, folder, plan, init, device, world)
        return f"{folder}: {part} trained"
    clips, init = ClipStore(request.store), model_folder(init) if init else None
    if part != "recogniser" and is_loops(request.preset, init or folder):
        train_loops(part, clips, folder, plan, init, pick_device(device), world)
        return f"{folder}: {part} trained"
    if world.size > 1:
        raise SfvError(
            f"{request.store} is a clip store, which one process trains this part on; start without torchrun"
        )
    run_dir = folder / "runs" / part
    if part == "recogniser":
        with begun(run_dir, beginning((), request.store, None, folder), world):
            return sticker_parts.train_recogniser_part(clips, plan, folder)
    blueprint = replace(TINY, size=clips.size) if request.preset == "debug" else STICKER
    model = adopt(init, part) if init else resume(folder, blueprint, part)
    with begun(run_dir, beginning(networks_of(model), request.store, init, folder), world):
        if init:
            settle(model, folder)
        sticker_parts.TRAINERS[part](model.to(pick_device(device)), clips, plan, folder)
    return f"{folder}: {part} trained"


def _check_store(store: Path) -> None:
    """SfvError if there are no data."""
    if is_videos(store) or (store / "store.json").exists():
        return
    why = "is not a clip store, nor video shards" if store.exists() else "does not exist"
    raise SfvError(
        f"{store} {why}; make video shards with `sfv encode`, for a model that is named by --init, or a clip store "
        "with `sfv pack`"
    )
