"""A model of whole loops from nothing, part by part: codec, teacher, student, and the decoder again."""

from dataclasses import replace
from pathlib import Path

import torch

from sfv.data.loops import LoopSource
from sfv.data.stickers import ClipStore
from sfv.data.stiff_pictures import StiffPictures
from sfv.errors import SfvError
from sfv.families.base import MovingCodec, VideoModel
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, MotionCodec, MotionConditioner, MotionSizes, new_motion_model
from sfv.families.motion.stiffness import Stiffness, StiffnessConfig
from sfv.training.begun import beginning, begun, networks_of
from sfv.training.config import (
    MotionCodecTraining,
    MotionDecoderTraining,
    Schedule,
    Stages,
    StiffnessTraining,
    TeacherTraining,
)
from sfv.training.loop_batches import LoopBatches
from sfv.training.objectives.denoising import train_teacher
from sfv.training.objectives.distil import called_once, train_chain
from sfv.training.objectives.motion_codec import train_motion_codec
from sfv.training.objectives.motion_decoder import train_motion_decoder
from sfv.training.objectives.perceptual import Perceptual
from sfv.training.objectives.stiffness import train_stiffness
from sfv.training.parallel import World
from sfv.training.presets import PRESETS

LOOP_PARTS = ("codec", "teacher", "student", "decoder", "stiffness")
"""Each is made from the ones before it; the decoder may be trained anew whenever the teacher has grown."""
MOTION = "motion.json"
"""Quantiles of motion, beside the parts' runs."""


def is_loops(preset: str, folder: Path) -> bool:
    """Whether a part belongs to a model of whole loops: by the folder it goes into, else by its preset's codec."""
    index = folder / "model_index.json"
    if index.exists():
        return motion_folder.PIPELINE in index.read_text()
    return isinstance(PRESETS[preset].get("codec", (None,))[-1], MotionCodecTraining)


def train_loops(
    part: str, clips: ClipStore, folder: Path, plan: Stages, init: Path | None, device: torch.device, world: World
) -> None:
    """Train one part into `folder`; the same call resumes. `init` is another folder to begin as."""
    if part not in LOOP_PARTS:
        raise SfvError(f"{part} is no part of a model of whole loops; choose from {', '.join(LOOP_PARTS)}")
    start = _adopted(init) if init else _begun(part, folder, plan, clips.size)
    now = beginning(networks_of(start), clips.folder, init, folder)
    with begun(folder / "runs" / part, now, world):
        if init and world.main and not (folder / "model_index.json").exists():
            motion_folder.save(start, folder, "teacher")
        world.wait()
        model = _begun(part, folder, plan, clips.size) if init else start
        _train(part, model.to(device), clips, plan, folder, world)


def _train(part: str, model: VideoModel, clips: ClipStore, plan: Stages, folder: Path, world: World) -> None:
    """Train `part` and write what came of it into the model folder."""
    trainers = {
        "codec": _codec,
        "teacher": _teacher,
        "student": _student,
        "decoder": _decoder,
        "stiffness": _stiffness,
    }
    trained = trainers[part](model, clips, plan, folder, world)
    if world.main:
        motion_folder.save(trained, folder, "unet" if part == "student" else "teacher")
        (folder / "runs" / part / "done").write_text("")


def _adopted(init: Path) -> VideoModel:
    """Another model's codec, tower, and teacher (else its one denoiser) as the start."""
    unet = "teacher" if (init / "teacher").is_dir() else "unet"
    return motion_folder.load(init, unet, torch.float32, str(init))


def _begun(part: str, folder: Path, plan: Stages, size: int) -> VideoModel:
    """The folder as the parts before left it; a fresh model where there is none and the codec is to be trained."""
    if (folder / "model_index.json").exists():
        return motion_folder.load(folder, "teacher", torch.float32, str(folder))
    if part != "codec":
        raise SfvError(f"{folder} has no trained codec yet; run `sfv train codec` first, or name a model with --init")
    return new_motion_model(TINY_MOTION if size < MotionSizes().size else MotionSizes(), seed=plan[-1].seed)


def _source(clips: ClipStore, stage: Schedule) -> LoopSource:
    return LoopSource(clips, getattr(stage, "programmed", 0.0))


def _perceptual(stage: MotionCodecTraining) -> Perceptual | None:
    return None if stage.lpips is None else Perceptual(stage.lpips)


def _codec(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path, world: World) -> VideoModel:
    assert isinstance(model.codec, MotionCodec) and isinstance(model.conditioner, MotionConditioner)
    networks = model.codec.networks
    for i, stage in enumerate(plan):
        assert isinstance(stage, MotionCodecTraining)
        run_dir = folder / "runs" / "codec" / str(i)
        networks = train_motion_codec(networks, _source(clips, stage), stage, run_dir, _perceptual(stage), world)
    model.conditioner.tower.begin_as(networks.decoder.pyramid)
    return replace(model, codec=MotionCodec(networks))


def _batches(
    model: VideoModel, clips: ClipStore, stage: Schedule, folder: Path, learns: bool, world: World
) -> LoopBatches:
    assert isinstance(model.codec, MovingCodec)
    tower = model.conditioner.picture_tower() if learns else None
    source = _source(clips, stage)
    batches = LoopBatches(source, model.codec, model.conditioner, model.defaults.frames, learns=tower)
    if pool := getattr(stage, "pool", 0):
        batches.keep_pool(folder / "runs" / f"pool-{source.programmed:g}-{pool}", pool)
    if world.main:
        batches.rank_motion(folder / MOTION)
    world.wait()
    batches.rank_motion(folder / MOTION)
    return batches


def _teacher(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path, world: World) -> VideoModel:
    D = model.denoiser
    for i, stage in enumerate(plan):
        assert isinstance(stage, TeacherTraining)
        batches, run_dir = _batches(model, clips, stage, folder, True, world), folder / "runs" / "teacher" / str(i)
        D = train_teacher(D.requires_grad_(True), batches, stage, (model.sigma_min, model.sigma_max), run_dir, world)
    return replace(model, denoiser=D)


def _student(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path, world: World) -> VideoModel:
    batches = _batches(model, clips, plan[-1], folder, False, world)
    G = train_chain(model.denoiser, batches, plan, model.noise_range, folder / "runs" / "student", world)
    return replace(model, denoiser=G, defaults=called_once(model.defaults, plan[-1]))


def _decoder(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path, world: World) -> VideoModel:
    for i, stage in enumerate(plan):
        assert isinstance(stage, MotionDecoderTraining) and isinstance(model.codec, MotionCodec)
        batches, run_dir = _batches(model, clips, stage, folder, False, world), folder / "runs" / "decoder" / str(i)
        networks = train_motion_decoder(model, batches, stage, run_dir, _perceptual(stage), world)
        model = replace(model, codec=MotionCodec(networks))
    return model


def _stiffness(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path, world: World) -> VideoModel:
    """Begun from the picture tower's features, whatever the folder had before."""
    stage = plan[-1]
    assert isinstance(stage, StiffnessTraining) and isinstance(model.conditioner, MotionConditioner)
    if world.size > 1:
        raise SfvError("stiffness is trained by one process; start without torchrun")
    tower = model.conditioner.tower
    torch.manual_seed(stage.seed)
    config = StiffnessConfig(
        widths=tower.config.widths, lines=stage.lines, motion=stage.motion > 0, ground=stage.ground
    )
    network = Stiffness(config).to(model.device)
    network.pyramid.load_state_dict(tower.pyramid.state_dict())
    loops = _batches(model, clips, stage, folder, False, world).motions(stage.motion) if stage.motion else ()
    trained = train_stiffness(network, StiffPictures(clips), stage, folder / "runs" / "stiffness", loops)
    return replace(model, stiffness=trained)
