"""A sticker model from nothing, part by part, each filling one more sub-folder of a model folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sfv.costs.training import matmul_rate, needs
from sfv.data.encode_stickers import encode
from sfv.data.shards import Shards
from sfv.data.stickers import Clip, ClipStore, over_background
from sfv.decoding.decoder import save_decoder
from sfv.decoding.matte import Matte, MatteConfig, save_matte
from sfv.errors import SfvError
from sfv.families import pick_device
from sfv.families.base import FrameCodec, VideoModel, fingerprint
from sfv.families.svd.folder import MATTE, SMALL, load, save, save_denoiser, shapes
from sfv.families.svd.sizes import STICKER, TINY, Blueprint, Shapes, new_model
from sfv.families.svd.sizes import shapes as blueprint_shapes
from sfv.measures.recogniser import RECOGNISER, save_recogniser
from sfv.training.batches import Batches
from sfv.training.config import (
    PARTS,
    CodecTraining,
    MatteTraining,
    RecogniserTraining,
    Stages,
    StudentTraining,
    TeacherTraining,
    stages,
)
from sfv.training.loop_parts import is_loops, train_loops
from sfv.training.objectives.codec import train_codec
from sfv.training.objectives.decoder import train_decoders
from sfv.training.objectives.denoising import train_teacher
from sfv.training.objectives.distil import called_once, train_any
from sfv.training.objectives.matte import train_matte
from sfv.training.objectives.picture_encoder import train_picture_encoder
from sfv.training.objectives.recogniser import train_recogniser
from sfv.training.parallel import Mode, join
from sfv.training.video_parts import is_videos, train_on_videos

FPS, VERSIONS, SVD = 12, (2, 1), Shapes()


def train_part(
    part: str,
    store: Path,
    folder: Path,
    preset: str,
    overrides: tuple[str, ...] = (),
    threads: int = 0,
    dry: bool = False,
    device: str = "cpu",
    init: Path | None = None,
    mode: Mode = "ddp",
) -> str:
    """Train one part into `folder`; returns what to tell the user. Parts run in the order of PARTS.

    `init` is a model folder whose weights are the start of this part and stand for the parts before it.
    """
    plan = stages(preset, part, overrides)
    if dry:
        return json.dumps(outlook(part, preset, plan, init, device), indent=1)
    if threads:
        torch.set_num_threads(threads)
    world = join(mode)
    if is_videos(store):
        train_on_videos(part, store, folder, plan, init, device, world)
        return f"{folder}: {part} trained"
    clips = ClipStore(store)
    if part != "recogniser" and is_loops(preset, init or folder):
        train_loops(part, clips, folder, plan, init, pick_device(device), world)
        return f"{folder}: {part} trained"
    if world.size > 1:
        raise SfvError(f"{store} is a clip store, which one process trains this part on; start without torchrun")
    if part == "recogniser":
        return _recogniser(clips, plan, folder)
    blueprint = replace(TINY, size=clips.size) if preset == "debug" else STICKER
    model = (_adopt(init, folder, part) if init else _resume(folder, blueprint, part)).to(pick_device(device))
    trainers = (_codec, _pictures, _teacher, _student, _decoder, _matte)
    dict(zip(PARTS, trainers, strict=True))[part](model, clips, plan, folder)
    return f"{folder}: {part} trained"


def outlook(part: str, preset: str, plan: Stages, init: Path | None, device: str) -> dict[str, Any]:
    """The resolved configuration of every stage and, for teacher and student, what it will need (an estimate)."""
    told: dict[str, Any] = {"part": part, "preset": preset, "stages": [s.model_dump() for s in plan]}
    if part in ("teacher", "student"):
        own = SVD if preset.startswith("svd") else blueprint_shapes(TINY if preset == "debug" else STICKER)
        sizes = shapes(init) if init else own
        rate = matmul_rate(pick_device(device))
        told["needs"] = [needs(sizes, s, rate) for s in plan if isinstance(s, StudentTraining | TeacherTraining)]
    return told


def _resume(folder: Path, blueprint: Blueprint, part: str) -> VideoModel:
    """A fresh model for the first part; otherwise the folder as the parts before left it."""
    if part == PARTS[0]:
        return new_model(blueprint, seed=0)
    before = PARTS[PARTS.index(part) - 1]
    if not (folder / "runs" / before / "done").exists():
        raise SfvError(f"{folder} has no trained {before} yet; run `sfv train {before}` first")
    return load(folder, "teacher" if part == "student" else "unet", torch.float32, str(folder))


def _adopt(init: Path, folder: Path, part: str) -> VideoModel:
    """Another folder's model as the start: its teacher's UNet for teacher and student alike."""
    model = load(init, "teacher" if part in ("teacher", "student") else "unet", torch.float32, str(init))
    if not (folder / "model_index.json").exists():
        save(model, folder)
    return model


def _finish(folder: Path, part: str) -> None:
    (folder / "runs" / part / "done").write_text("")


def _recogniser(clips: ClipStore, plan: Stages, folder: Path) -> str:
    stage, path = plan[-1], folder / RECOGNISER
    assert isinstance(stage, RecogniserTraining)
    save_recogniser(train_recogniser(clips, stage, folder / "runs" / "recogniser"), path)
    return f"{path}: recogniser trained; measure with it: sfv evaluate --weights {folder}"


def _codec(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    codec = model.codec
    assert isinstance(codec, FrameCodec)
    for i, stage in enumerate(plan):
        assert isinstance(stage, CodecTraining)
        codec = train_codec(codec.requires_grad_(True), clips, stage, folder / "runs" / "codec" / str(i))
        codec.normalise(*latent_statistics(codec, clips))
    save(replace(model, codec=codec, conditioner=model.conditioner.around(codec)), folder)
    _finish(folder, "codec")


@torch.no_grad()
def latent_statistics(codec: FrameCodec, clips: ClipStore, count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-channel mean and spread of raw latents over training clips on white, one frame each."""
    train = clips.split("train")
    some = train[:: max(1, len(train) // count)]
    on = next(codec.parameters()).device
    raw = torch.cat([codec.posterior(first_frame(clips, c)[None].to(on))[0][:, 0] for c in some])
    return raw.mean((0, 2, 3)), raw.std((0, 2, 3))


def first_frame(clips: ClipStore, clip: Clip) -> torch.Tensor:
    """The rest pose on white, (1, 3, h, w) in [-1, 1]."""
    return over_background(clips.rgba(clip, 0, 1, 1), torch.ones(3, clips.size, clips.size))


def _pictures(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    model.conditioner.picture_tower().requires_grad_(True)
    train_picture_encoder(model.conditioner, clips, plan[-1], folder / "runs" / "picture-encoder")  # type: ignore[arg-type]
    save(model, folder)
    _finish(folder, "picture-encoder")


def _batches(model: VideoModel, clips: ClipStore, folder: Path, frames: int | None = None) -> Batches:
    where = folder / "runs" / "shards"
    encode(clips, model.codec, model.conditioner, where, fingerprint(model.codec), VERSIONS, FPS)
    shards = Shards(where, fingerprint(model.codec))
    return Batches(shards, clips, model.codec, model.conditioner, frames or model.defaults.frames)


def _law(model: VideoModel) -> tuple[float, float, float]:
    return model.sigma_min, model.sigma_max, model.rho


def _teacher(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    D = model.denoiser
    for i, stage in enumerate(plan):
        assert isinstance(stage, TeacherTraining)
        batches, run_dir = _batches(model, clips, folder, stage.frames), folder / "runs" / "teacher" / str(i)
        D = train_teacher(D.requires_grad_(True), batches, stage, _law(model)[:2], run_dir)
    save_denoiser(replace(model, denoiser=D), folder, "teacher")
    _finish(folder, "teacher")


def _student(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    batches, run_dir = _batches(model, clips, folder), folder / "runs" / "student"
    G = train_any(model.denoiser, batches, plan[-1], _law(model), run_dir)
    one = called_once(model.defaults, plan[-1])
    save_denoiser(replace(model, denoiser=G, defaults=one), folder, "unet")
    _finish(folder, "student")


def _decoder(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    save_decoder(train_decoders(model, clips, plan, folder / "runs" / "decoder"), folder / SMALL)
    _finish(folder, "decoder")


def _matte(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    stage = plan[-1]
    assert isinstance(stage, MatteTraining)
    torch.manual_seed(stage.seed)
    matte = train_matte(Matte(MatteConfig()).to(model.device), model, clips, stage, folder / "runs" / "matte")
    save_matte(matte, folder / MATTE)
    _finish(folder, "matte")
