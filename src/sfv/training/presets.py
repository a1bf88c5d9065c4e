"""Presets of every training task, and a preset with a user's changes."""

import json
import re
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from sfv.errors import SfvError
from sfv.training.config import (
    CodecTraining,
    ConsistencyTraining,
    DecoderTraining,
    DistributionTraining,
    DriftingTraining,
    MatteTraining,
    MotionCodecTraining,
    MotionDecoderTraining,
    PairTraining,
    PictureEncoderTraining,
    RecogniserTraining,
    Schedule,
    Stages,
    StiffnessTraining,
    StudentTraining,
    TeacherTraining,
)


def _svd(**changes: Any) -> StudentTraining:
    """What students of SVD share: one clip at a time, recomputation, wide heads with a head start."""
    shared = {"clips": 1, "recompute": True, "head_updates": 1, "head_width": 256, "head_start": 100}
    return StudentTraining(**(shared | {"lr_heads": 3e-4, "ema": 0.99} | changes))


def _wan(**changes: Any) -> StudentTraining:
    """What students of Wan2.2 TI2V-5B share: SVD's, by adapters; not run at full size yet."""
    return _svd(**({"lr": 5e-5} | changes))


def _decoder(**changes: Any) -> DecoderTraining:
    """What the later stages of a small decoder share: whole frames of noised latents, at a rate that soon falls."""
    shared = {"lr": 2e-3, "decay_from": 0.1, "warmup": 50, "edges": 0.2, "noise": 0.05, "plain": 0.9}
    return DecoderTraining(**(shared | changes))


SLIM = _decoder(
    steps=700,
    clips=1,
    frames=14,
    lr=1e-3,
    depth=(2, 2, 1),
    joined=2,
    copied=True,
    restored=0.9,
    sigmas=(2.0, 200.0),
    trust=5,
    window=1.25,
)
"""A smaller decoder that copies the one before it, on latents as a denoiser makes them in one call, and then moves
whole pieces."""
SVD_DECODER = (
    DecoderTraining(steps=15000, clips=4, frames=3, crop=256, warmup=50, edges=0.2, decay_from=1.0, guided=False),
    DecoderTraining(steps=15000, clips=1, frames=8, crop=384, lr=1e-3, decay_from=0.4, edges=0.2, noise=0.05),
)
"""Copies the codec's own decoder on crops: frames first, then guided by the first of them. Not yet run at full size."""


def _loop_teacher(**changes: Any) -> TeacherTraining:
    """A teacher of whole loops: more noise than for frames, since loops hold the same motion many times over."""
    shared = {"p_mean": 0.8, "p_std": 1.5, "wide": 0.15, "drop": 0.1, "warmup": 60, "decay_from": 0.5}
    return TeacherTraining(**(shared | {"programmed": 0.2, "pool": 8000} | changes))


PAPER: dict[str, Any] = {
    "optimizer": "sm3",
    "head_optimizer": "sm3",
    "lr": 1e-5,
    "lr_heads": 1e-4,
    "head_updates": 1,
    "head_start": 0,
    "warmup": 0,
    "decay_from": 1.0,
    "ema": 0.95,
    "level_weights": (1.0, 1.0, 1.0),
    "huber": "clip",
    "huber_c": 1000.0,
    "reconstruction": 0.1,
}
"""What SF-V says of its training (2406.04324, Sec. 3 and 4): SM3 with momentum 0.5 and beta 0.999 for both, constant
rates, one update of the heads to one of the generator, EMA 0.95, levels drawn evenly, the whole clip's norm. It leaves
R1's weight and place, c, the heads' widths and gradient clipping open (docs/student.md). With so large a c the
reconstruction pulls half as much as the adversary; with one near 0 two to four times as much (docs/paper.md)."""


def _rival(**changes: Any) -> StudentTraining:
    """What rivals of SF-V share here: its discriminator, by optimisers that learn sooner than the paper's."""
    shared = {"steps": 160, "clips": 2, "lr": 2e-5, "lr_heads": 3e-3, "head_start": 40}
    shared |= {"warmup": 0, "decay_from": 0.4, "ema": 0.99}
    return StudentTraining(**(shared | changes))


def _plus(**changes: Any) -> StudentTraining:
    """SF-V+: adapters at ten times the rate, calm clips, frame differences (docs/paper.md)."""
    return _rival(**({"lora": 32, "lr": 2e-4, "differences": True, "motion_most": 140} | changes))


PRESETS: dict[str, dict[str, Stages]] = {
    # the embedded model, on two CPU cores: hours (torchrun --nproc-per-node 2 ... --threads 1)
    "sticker-cpu": {
        "recogniser": (RecogniserTraining(steps=500),),
        "codec": (
            MotionCodecTraining(steps=2000, warmup=50, decay_from=0.5),
            MotionCodecTraining(
                steps=1400, seed=1, lr=1.2e-3, decay_from=0.2, warmup=30, supervised=0, perceptual_from=0, doubt_from=0
            ),
        ),
        "teacher": (_loop_teacher(steps=3000, clips=8),),
        "student": (
            ConsistencyTraining(
                steps=2600, clips=2, lr=1e-4, warmup=30, decay_from=0.5, ema=0.998, programmed=0.2, pool=3000
            ),
            _plus(
                steps=4100,
                lr=6e-5,
                head_start=60,
                differences=False,
                motion_most=255,
                motion_floor=0.02,
                programmed=0.2,
                pool=3000,
            ),
        ),
        "decoder": (MotionDecoderTraining(steps=1500, warmup=20, decay_from=0.3),),
        "stiffness": (StiffnessTraining(steps=1200),),
    },
    # the same on one 80 GB GPU, minutes; not yet measured
    "sticker-gpu": {
        "recogniser": (RecogniserTraining(steps=8000, clips=48),),
        "codec": (MotionCodecTraining(steps=6000, clips=64, warmup=100, decay_from=0.5, supervised=0.1),),
        "teacher": (_loop_teacher(steps=12000, clips=64, ema=0.9995),),
        "student": (_plus(steps=6000, clips=16, lora=64, head_start=200, ema=0.998, differences=False),),
        "decoder": (MotionDecoderTraining(steps=4000, clips=16, warmup=50, decay_from=0.3),),
        "stiffness": (StiffnessTraining(steps=3000, pictures=128),),
    },
    # seconds, for tests: proves the path of whole loops, teaches nothing
    "loops-debug": {
        "codec": (MotionCodecTraining(steps=3, clips=2, programmed=0.0),),
        "teacher": (TeacherTraining(steps=2, clips=2), TeacherTraining(steps=3, clips=2)),
        "student": (StudentTraining(steps=4, clips=2, head_start=2),),
        "decoder": (MotionDecoderTraining(steps=2, frames=2, programmed=0.0),),
        "stiffness": (StiffnessTraining(steps=3, pictures=4, motion=6),),
    },
    # a small SVD-architecture model from nothing (codec of frames, 14 frames), two CPU cores, about three hours in all
    "svd-small-cpu": {
        "codec": (
            CodecTraining(steps=2200, clips=12, crop=64, warmup=50),
            CodecTraining(
                steps=450,
                clips=1,
                frames=4,
                lr=1e-3,
                decay_from=0.1,
                warmup=50,
                edges=0.2,
                noise=0.05,
                plain=0.9,
            ),
        ),
        "picture-encoder": (PictureEncoderTraining(steps=800),),
        "teacher": (
            TeacherTraining(steps=2000, clips=5, frames=8, p_mean=1.2, wide=0.15, drop=0.1, decay_from=1.0),
            TeacherTraining(steps=3700, clips=3, p_mean=1.0, wide=0.15, drop=0.1),
        ),
        "student": (_plus(steps=1000, ema=0.995),),
        "decoder": (
            DecoderTraining(steps=2500, clips=12, crop=64, warmup=50, edges=0.2, decay_from=1.0, guided=False),
            _decoder(steps=1500, clips=1, frames=5, guided=False),
            _decoder(steps=500, clips=1, frames=8, lr=1e-3, restored=0.4, decay_from=1.0),
            _decoder(steps=700, clips=1, frames=8, lr=1e-3, restored=0.7, doubt=0.03, decay_from=0.4, trust=5),
            SLIM,
        ),
        "matte": (MatteTraining(steps=800),),
    },
    # half the small decoder's arithmetic, from a trained one: 15 minutes of one CPU core
    "slim-decoder": {"decoder": (SLIM,)},
    # the same on one 80 GB GPU, minutes; not yet measured
    "svd-small-gpu": {
        "codec": (
            CodecTraining(steps=6000, clips=96, crop=64, warmup=100),
            CodecTraining(
                steps=3000, clips=8, frames=8, lr=1e-3, decay_from=0.1, warmup=50, edges=0.2, noise=0.05, plain=0.9
            ),
        ),
        "picture-encoder": (PictureEncoderTraining(steps=3000, pictures=256),),
        "teacher": (
            TeacherTraining(steps=15000, clips=64, frames=8, p_mean=1.2, wide=0.15, drop=0.1, decay_from=1.0),
            TeacherTraining(steps=20000, clips=32, p_mean=1.2, wide=0.15, drop=0.1, ema=0.9995),
        ),
        "student": (_plus(steps=8000, clips=16, lora=64, head_start=200, ema=0.998),),
        "decoder": (
            DecoderTraining(steps=20000, clips=96, crop=64, warmup=50, edges=0.2, decay_from=1.0, guided=False),
            _decoder(steps=8000, clips=8, frames=8, guided=False),
            _decoder(steps=4000, clips=8, frames=8, lr=1e-3, restored=0.4, decay_from=1.0),
            _decoder(steps=8000, clips=8, frames=8, lr=1e-3, restored=0.7, doubt=0.03, trust=5),
            SLIM,
        ),
        "matte": (MatteTraining(steps=6000, clips=24),),
    },
    # recipes side by side on two CPU cores, as many clips for each, at the better of two rates (docs/paper.md):
    # `runs/paper/paper_tables.py` trains and measures them
    "sfv-cpu": {"student": (StudentTraining(**(PAPER | {"steps": 320, "clips": 2, "lr": 2e-5, "lr_heads": 2e-4})),)},
    "sfv-plus-cpu": {"student": (_plus(),)},
    "ladd-cpu": {
        "student": (
            _rival(
                lr=1e-4,
                real="teacher",
                reconstruction=0.0,
                p_mean=1.0,
                level_weights=(0.15, 0.15, 0.7),
                target_guidance=3.0,
            ),
        )
    },
    "ufogen-cpu": {"student": (_rival(d_noise="next", reconstruction=1.0, level_weights=(1.0, 1.0, 1.0)),)},
    "consistency-cpu": {
        "student": (ConsistencyTraining(steps=320, clips=2, lr=1e-4, warmup=0, decay_from=0.4, ema=0.99),)
    },
    "pairs-cpu": {"student": (PairTraining(steps=320, clips=2, warmup=20, decay_from=0.4, ema=0.99),)},
    "drifting-cpu": {"student": (DriftingTraining(steps=320, clips=2, warmup=20, decay_from=0.4, ema=0.99),)},
    # a warm start on the teacher's own ends, then the adversary with adapters on generator and judge
    "warm-cpu": {
        "student": (
            PairTraining(steps=1500, clips=4, warmup=50, decay_from=0.5, programmed=0.2, pool=8000),
            _plus(
                steps=1000,
                ema=0.995,
                motion_most=255,
                programmed=0.2,
                pool=8000,
                heads="stc",
                backbone_lora=8,
                shared=False,
                smoothness=1.0,
                gamma=0.0,
                motion_floor=0.02,
                reconstruction=0.0,
            ),
        )
    },
    "dmd-cpu": {"student": (DistributionTraining(steps=1000, clips=4, warmup=10, decay_from=0.5),)},
    # SF-V's own recipe: 8 cards of 80 GB, 14 x 448 x 768, batch 8 x 4 (torchrun --nproc-per-node 8, fsdp)
    "svd-paper": {
        "student": (_svd(**(PAPER | {"steps": 12500, "accumulate": 4, "motion_id": 127})),),
    },
    # one 80 GB card, every weight
    "svd-80gb": {"student": (_svd(steps=10000, accumulate=8, lr=1e-5, optimizer="sm3"),), "decoder": SVD_DECODER},
    # one 48 GB card, every weight; the average lies in the host's memory
    "svd-48gb": {
        "student": (_svd(steps=10000, accumulate=8, lr=1e-5, optimizer="sm3", average="host"),),
        "decoder": SVD_DECODER,
    },
    # eight 24 GB cards, every weight (torchrun --nproc-per-node 8, fsdp)
    "svd-8x24gb": {"student": (_svd(steps=10000, lr=1e-5, optimizer="sm3"),), "decoder": SVD_DECODER},
    # one 24 GB card: adapters on the one frozen network, which also judges
    "svd-24gb": {
        "student": (_svd(steps=8000, accumulate=4, lr=5e-5, lora=64, head_width=128),),
        "decoder": SVD_DECODER,
    },
    # the same card, begun on the teacher's own ends: 50 calls of the teacher for each of 2,000 pairs, once
    "svd-24gb-warm": {
        "student": (
            PairTraining(steps=2000, clips=1, accumulate=4, lr=5e-5, lora=64, recompute=True, guidance=3),
            _svd(steps=6000, accumulate=4, lr=5e-5, lora=64, head_width=128),
        ),
        "decoder": SVD_DECODER,
    },
    # Wan2.2 TI2V-5B on one 24 GB card, 81 frames of 480 x 832: adapters on the one frozen network, which also judges
    "wan-5b-24gb": {"student": (_wan(steps=4000, accumulate=4, lora=32, head_width=128),)},
    # the same on one 80 GB card, 81 frames of 704 x 1280: larger adapters, wider heads, more clips
    "wan-5b-80gb": {"student": (_wan(steps=4000, accumulate=8, lora=128),)},
    # seconds, for tests: proves the path, teaches nothing
    "debug": {
        "recogniser": (RecogniserTraining(steps=2, clips=2, frames=4),),
        "codec": (CodecTraining(steps=3, clips=1, crop=16), CodecTraining(steps=2, clips=1, frames=3)),
        "picture-encoder": (PictureEncoderTraining(steps=2, pictures=2),),
        "teacher": (TeacherTraining(steps=2, clips=2, frames=3), TeacherTraining(steps=4, clips=2)),
        "student": (StudentTraining(steps=4, clips=2, head_start=2),),
        "decoder": (
            DecoderTraining(steps=3, clips=2, crop=16, guided=False),
            DecoderTraining(steps=2, clips=1, frames=3, restored=1.0),
        ),
        "matte": (MatteTraining(steps=2, clips=1, frames=2),),
    },
}
"""Preset -> part -> stages, each run after the one before it."""
PARTS = ("codec", "picture-encoder", "teacher", "student", "decoder", "matte", "stiffness")
"""Of a model, each made from the ones before it. The recogniser stands alone: it measures models."""


def stages(preset: str, part: str, overrides: tuple[str, ...] = ()) -> Stages:
    """The stages of one part with overrides: FIELD=VALUE for the last, N.FIELD=VALUE for stage N from 0."""
    if preset not in PRESETS:
        raise SfvError(f"preset {preset!r} is unknown; choose from {', '.join(PRESETS)}")
    if part not in (*PARTS, "recogniser"):
        raise SfvError(f"part {part!r} is unknown; choose from {', '.join(PARTS)}, recogniser")
    if part not in PRESETS[preset]:
        raise SfvError(f"preset {preset!r} trains {', '.join(PRESETS[preset])}, not {part}")
    plan = PRESETS[preset][part]
    changes: list[dict[str, str]] = [{} for _ in plan]
    for text in overrides:
        where, equals, value = text.partition("=")
        at, _, field = where.strip().rpartition(".")
        if not (field and equals):
            raise SfvError(f"--set {text}: it is written FIELD=VALUE, or N.FIELD=VALUE for stage N; see --dry-run")
        if at and (not at.isdigit() or int(at) >= len(plan)):
            raise SfvError(f"--set {where}: {part} has stages 0 to {len(plan) - 1}; see --dry-run")
        changes[int(at) if at else -1][field] = value.strip()
    return tuple(_changed(stage, some) if some else stage for stage, some in zip(plan, changes, strict=True))


def _changed(stage: Schedule, changes: dict[str, str]) -> Schedule:
    """With values as they are written in JSON, or plain words."""
    fields = type(stage).model_fields
    for name in changes:
        if name not in fields:
            near = get_close_matches(name, fields, 3)
            meant = f"did you mean {' or '.join(near)}? --dry-run lists them" if near else "--dry-run lists them"
            raise SfvError(f"--set {name}: {type(stage).__name__} has no such field; {meant}")
    try:
        values = {k: json.loads(v) if v.startswith("[") else v for k, v in changes.items()}
        return type(stage).model_validate(stage.model_dump() | values)
    except json.JSONDecodeError as error:
        raise SfvError(f"--set {', '.join(changes)}: a list is written [1,2,3] ({error}); see --dry-run") from error
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Value error, ")
        named = [str(first["loc"][0])] if first["loc"] else [n for n in changes if n in re.findall(r"\w+", why)]
        raise SfvError(f"--set {', '.join(named or changes)}: {why}; see --dry-run") from error
