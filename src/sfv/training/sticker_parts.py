"""The parts of a small SVD-architecture model from nothing: each fills one more sub-folder of a model folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from sfv.data.encode_stickers import encode
from sfv.data.shards import Shards
from sfv.data.stickers import Clip, ClipStore, over_background
from sfv.decoding.decoder import save_decoder
from sfv.decoding.folder import MATTE, SMALL
from sfv.decoding.matte import Matte, MatteConfig, save_matte
from sfv.families.base import FrameCodec, VideoModel, fingerprint
from sfv.families.load import save, save_denoiser
from sfv.measures.recogniser import RECOGNISER, save_recogniser
from sfv.training.batches import Batches
from sfv.training.config import CodecTraining, MatteTraining, RecogniserTraining, Stages, TeacherTraining
from sfv.training.objectives.codec import train_codec
from sfv.training.objectives.decoder import train_decoders
from sfv.training.objectives.denoising import train_teacher
from sfv.training.objectives.distil import called_once, train_chain
from sfv.training.objectives.matte import train_matte
from sfv.training.objectives.picture_encoder import train_picture_encoder
from sfv.training.objectives.recogniser import train_recogniser
from sfv.training.run_folder import finish

FPS, VERSIONS = 12, (2, 1)


def train_recogniser_part(clips: ClipStore, plan: Stages, folder: Path) -> str:
    """Train the recogniser, which belongs to no model; returns a sentence for the user."""
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
    finish(folder, "codec")


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
    finish(folder, "picture-encoder")


def sticker_batches(model: VideoModel, clips: ClipStore, folder: Path, frames: int | None = None) -> Batches:
    """Training clips as latents: encoded once, kept under `folder`/runs."""
    where = folder / "runs" / "shards"
    encode(clips, model.codec, model.conditioner, where, fingerprint(model.codec), VERSIONS, FPS)
    shards = Shards(where, fingerprint(model.codec))
    return Batches(shards, clips, model.codec, model.conditioner, frames or model.defaults.frames)


def _teacher(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    D = model.denoiser
    for i, stage in enumerate(plan):
        assert isinstance(stage, TeacherTraining)
        batches, run_dir = sticker_batches(model, clips, folder, stage.frames), folder / "runs" / "teacher" / str(i)
        D = train_teacher(D.requires_grad_(True), batches, stage, model.noise_range[:2], run_dir)
    save_denoiser(replace(model, denoiser=D), folder, "teacher")
    finish(folder, "teacher")


def _student(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    batches, run_dir = sticker_batches(model, clips, folder), folder / "runs" / "student"
    G = train_chain(model.denoiser, batches, plan, model.noise_range, run_dir)
    one = called_once(model.defaults, plan[-1])
    save_denoiser(replace(model, denoiser=G, defaults=one), folder, "unet")
    finish(folder, "student")


def _decoder(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    save_decoder(train_decoders(model, clips, plan, folder / "runs" / "decoder"), folder / SMALL)
    finish(folder, "decoder")


def _matte(model: VideoModel, clips: ClipStore, plan: Stages, folder: Path) -> None:
    stage = plan[-1]
    assert isinstance(stage, MatteTraining)
    torch.manual_seed(stage.seed)
    matte = train_matte(Matte(MatteConfig()).to(model.device), model, clips, stage, folder / "runs" / "matte")
    save_matte(matte, folder / MATTE)
    finish(folder, "matte")


TRAINERS: dict[str, Callable[[VideoModel, ClipStore, Stages, Path], None]] = {
    "codec": _codec,
    "picture-encoder": _pictures,
    "teacher": _teacher,
    "student": _student,
    "decoder": _decoder,
    "matte": _matte,
}
"""Part -> what trains it into the folder."""
