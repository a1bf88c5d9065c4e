"""Typed configurations of every training task, and what `sfv train` is asked; knows pydantic alone."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

OptimizerName = Literal["adam", "adam8", "sm3", "muon"]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Some = Annotated[int, Field(gt=0)]


class TrainRequest(BaseModel):
    """Which part of which model is trained, and how; one schema for `sfv train` and Python."""

    part: str
    """What to train. Each part needs the ones before it in MODEL; the recogniser, which `sfv evaluate` uses, none."""
    store: Path
    """A clip store (sfv pack), or video shards (sfv encode)."""
    model: Path
    """Model folder that is filled part by part; the student's folder opens in diffusers."""
    preset: str = "sticker-cpu"
    """Preset of steps, batch and rates (see sfv.training.presets.PRESETS)."""
    set_: tuple[str, ...] = ()
    """Overrides of the preset's fields, in the last stage; N.FIELD=VALUE in stage N."""
    threads: int = Field(default=0, ge=0)
    """CPU threads (0 = PyTorch's choice)."""
    init: Path | None = None
    """Start from another model's weights of this part (and all parts before it) instead of from nothing: a folder, or
    the embedded one by its name."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: every rank holds the whole model, or a shard of it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


class Schedule(BaseModel):
    """How long and how often; shared by every training task."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kept: ClassVar[frozenset[str]] = frozenset({"seed"})
    """Fields that cannot change within a run: they say what data, networks and optimisers it has."""

    steps: int = Field(gt=0)
    """Optimiser updates of the main network."""
    seed: int = Field(default=0, gt=-(2**63), lt=2**63)
    """Of data order, noise and initial weights."""
    warmup: int = Field(default=100, ge=0)
    """Steps of linear learning-rate warm-up."""
    decay_from: float = Field(default=0.3, ge=0, le=1)
    """Share of the run after which the rate falls, cosine, to 2 %."""
    save_minutes: float = Field(default=3.0, ge=0)
    """Between checkpoints, at the least; 0: one after every step."""
    log_every: int = Field(default=20, gt=0)
    """Steps between lines of log.jsonl."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the denoiser's arithmetic; weights and losses are fp32. bf16 is fp32 on a CPU that does not compute in it."""
    on_alarm: Literal["warn", "stop", "return"] = "warn"
    """`return` goes back to the last healthy checkpoint, at half the rates."""
    clip: float = Field(default=1.0, gt=0)
    """Total norm to which gradients are scaled down."""
    tensorboard: bool = False
    """Also write every report to RUN/tensorboard (pip install "sfv[train]")."""
    wandb: str | None = None
    """Also send every report to this project of Weights & Biases (pip install wandb)."""


class PixelTraining(Schedule):
    """Reconstruction of short clips: what codec and small decoder share."""

    clips: int = Field(gt=0)
    """Clips in a batch."""
    frames: int = Field(default=1, gt=0)
    """Frames in a clip; not 2, where bf16 conv3d's CPU backward crashes."""
    crop: int | None = Field(default=None, gt=0)
    """Side of random crops in pixels; None trains on whole frames."""
    lr: float = Field(default=3e-3, ge=0)
    """Muon."""
    mse: float = Field(default=2.0, ge=0)
    """Weight of the squared error beside the absolute error."""
    edges: float = Field(default=0.0, ge=0)
    """Weight of the absolute error of image gradients."""
    noise: float = Field(default=0.0, ge=0)
    """Extra latent noise as a share of their spread, so that decoding forgives small errors."""
    plain: float = Field(default=0.85, ge=0, le=1)
    """Share of clips on white; the others over colours and gradients."""
    ema: float = Field(default=0.995, ge=0, lt=1)


class CodecTraining(PixelTraining):
    """Encoder and decoder together."""

    kl: float = Field(default=1e-5, ge=0)
    """Weight of the KL term, per latent element."""


class MotionCodecTraining(Schedule):
    """Encoder and decoder of what changes, together."""

    clips: int = Field(default=6, gt=0)
    """In a batch on one rank; three frames of each."""
    lr: float = Field(default=2e-3, ge=0)
    """Muon."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    programmed: float = Field(default=0.25, ge=0, le=1)
    """Share of stills that a program moves as one body."""
    rest: float = Field(default=0.6, ge=0, le=1)
    """Share of clips whose picture is the rest pose; others: any frame."""
    between: float = Field(default=0.35, ge=0, le=1)
    """Share of clips whose middle frame lies between two latents."""
    clear: float = Field(default=0.45, ge=0, le=1)
    """Share of transparent clips."""
    noise: float = Field(default=0.4, ge=0)
    """Latent noise: from 0 to so much of a channel's spread, a frame."""
    mse: float = Field(default=2.0, ge=0)
    """Weight of the squared error beside the absolute error."""
    edges: float = Field(default=0.5, ge=0)
    """Weight of the absolute error of image gradients."""
    lpips: Path | None = (
        None  # folder of lpips_alexnet.safetensors (runs/recipes/feature_weights.py); None: no such loss
    )
    perceptual: float = Field(default=0.5, ge=0)
    """Weight of LPIPS."""
    perceptual_from: float = Field(default=0.1, ge=0, le=1)
    """Share of the run before it."""
    follow: float = Field(default=0.3, ge=0)
    """Weight of the moved picture's own error."""
    smooth: float = Field(default=0.01, ge=0)
    """Weight of the flow's change from pixel to pixel."""
    alone: float = Field(default=0.1, ge=0)
    """Weight of the error of what is drawn, where the mask hides it too."""
    doubt: float = Field(default=0.01, ge=0)
    """Price of drawing instead of moving."""
    doubt_from: float = Field(default=0.6, ge=0, le=1)
    """Share of the run before it."""
    flow: float = Field(default=0.3, ge=0)
    """Weight of the error to optical flow, at every level."""
    supervised: float = Field(default=0.3, ge=0, le=1)
    """Share of the run that has it."""
    small: float = Field(default=1e-3, ge=0)
    """Weight of the latents' mean square."""


class MotionDecoderTraining(MotionCodecTraining):
    """Its decoder alone, on what the teacher makes of noised latents."""

    kept: ClassVar[frozenset[str]] = frozenset({"seed", "depth", "widths", "programmed", "as_generated"})

    clips: int = Field(default=2, gt=0)
    """In a batch on one rank."""
    frames: int = Field(default=4, gt=0)
    """Of each that are drawn."""
    lr: float = Field(default=6e-4, ge=0)
    """Muon."""
    depth: tuple[Count, Count, Count, Count] | None = None
    """Residual blocks at each size, to leave some out; None: as it is."""
    widths: tuple[Some, Some, Some, Some] | None = None
    """Channels at each size, to leave out those that count least; None: as it is."""
    restored: float = Field(default=0.65, ge=0, le=1)
    """Share of clips that the denoiser has answered."""
    sigmas: tuple[float, float] = (0.3, 5.0)
    """From which noise levels."""
    window: float = Field(default=0.0, ge=0, le=64)
    """The end: pixels across which things move in one piece; 0: free."""
    bends: float = Field(default=1.0, gt=0)
    """The end: pixels of a bend that are believed; smaller ones are errors."""
    strain: float = Field(default=0.0, ge=0)
    """The end: how much pieces may be strained before they go with wider ones; 0: as they are."""
    strain_of_soft: float = Field(default=0.0, ge=0)
    """The end: the same for what surely bends; 0: as `strain`."""
    trust_bias: float = Field(default=0.0, ge=-10, le=10)
    """The end: added to the mask's logit; above 0 less is drawn."""
    draws: bool = True
    """The end: off, nothing is drawn and decoding takes 40 % less work."""
    as_generated: bool = False
    """Whether it learns under the settings of its end, too, so that its flow suits them; else with a free flow and its
    own mask."""
    doubt: float = Field(default=0.06, ge=0)
    doubt_from: float = Field(default=0.0, ge=0, le=1)
    perceptual_from: float = Field(default=0.0, ge=0, le=1)
    supervised: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _agree(self) -> "MotionDecoderTraining":
        if not 0 < self.sigmas[0] <= self.sigmas[1]:
            raise ValueError(f"sigmas {list(self.sigmas)} must be two rising numbers above 0")
        if self.strain and not self.window:
            raise ValueError("strain needs a window: without one nothing moves in pieces")
        if self.strain_of_soft and not self.strain:
            raise ValueError("strain_of_soft needs strain: alone it would change nothing")
        return self


class DecoderTraining(PixelTraining):
    """A small decoder for a frozen codec, guided by the picture."""

    kept: ClassVar[frozenset[str]] = frozenset({"seed", "depth", "joined", "guided"})

    guided: bool = True
    """Without, the guide is left out: single frames and crops teach it nothing."""
    depth: tuple[Some, ...] = Field(default=(3, 3, 3), min_length=1)
    """Blocks at each of the three finest sizes; coarser ones have the first's."""
    joined: int | None = Field(default=None, ge=0)
    """Sizes, from the latents up, that see the picture; None: all."""
    copied: bool = False
    """Learn from the decoder before it what to draw of latents, rather than the real frames."""
    restored: float = Field(default=0.0, ge=0, le=1)
    """Share of steps on what the denoiser makes of noised clips."""
    sigmas: tuple[float, float] = (0.5, 8.0)
    """Their noise."""
    motion_most: float = Field(default=140.0, ge=0, le=255)
    """Of the motion in the condition, from 0."""
    follow: float = Field(default=1.0, ge=0)
    """Weight of the moved picture's own errors."""
    smooth: float = Field(default=0.02, ge=0)
    """Weight of its flow's change from pixel to pixel."""
    trust: float = 0.0
    """The end: added to the mask's logit, so that less is drawn; chosen by eye and `sfv evaluate`."""
    window: float = Field(default=0.0, ge=0, le=64)
    """The end: latents across which things move in one piece; 0: free."""
    doubt: float = Field(default=0.0, ge=0)
    """Weight of drawing where the moved picture would do."""

    @model_validator(mode="after")
    def _agree(self) -> "DecoderTraining":
        if not 0 < self.sigmas[0] <= self.sigmas[1]:
            raise ValueError(f"sigmas {list(self.sigmas)} must be two rising numbers above 0")
        if self.restored and self.crop:
            raise ValueError("restored needs whole frames: leave crop out")
        if self.window and (not self.guided or self.joined is None or self.joined >= len(self.depth)):
            raise ValueError(f"window needs guided=true and joined below {len(self.depth)}")
        return self


class MatteTraining(Schedule):
    """Alpha of made clips."""

    clips: int = Field(default=4, gt=0)
    """In a batch."""
    frames: int = Field(default=4, gt=0)
    """In a window."""
    lr: float = Field(default=3e-3, ge=0)
    """Muon."""
    noise: float = Field(default=0.2, ge=0)
    """Of latents, as a share of their spread: made clips are not as clean as real ones."""
    ema: float = Field(default=0.99, ge=0, lt=1)


class PictureEncoderTraining(Schedule):
    """Contrastive learning of pictures and names."""

    pictures: int = Field(default=40, gt=1)
    """Pairs in a batch."""
    lr: float = Field(default=1e-3, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    """Of the softmax over the batch."""
    plain: float = Field(default=0.6, ge=0, le=1)
    ema: float = Field(default=0.995, ge=0, lt=1)


class StiffnessTraining(Schedule):
    """A network that tells stiff things from bending ones."""

    pictures: int = Field(default=48, gt=1)
    """In a batch."""
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    lines: bool = True
    """Straight lines count too: a regression at the end, on every picture as it is."""
    passing: float = Field(default=0.15, gt=0, lt=1)
    """With lines: the share of bending things among them that may be called stiff by both together."""
    ground: Literal["given", "clear", "white"] = "clear"
    """On what a thing on a plain ground is judged: as given, cut free of it (clear), or that laid over white."""
    motion: int = Field(default=2400, ge=0)
    """Loops from which it is learnt how much such pictures move, by a regression at the end; 0: not."""


class RecogniserTraining(Schedule):
    """A small video network that recognises faults."""

    clips: int = Field(default=12, gt=1)
    """In a batch."""
    frames: int = Field(default=14, gt=2)
    fps: int = Field(default=12, gt=0)
    lr: float = Field(default=3e-3, ge=0)
    """Muon."""
    faulty: float = Field(default=0.3, ge=0, le=1)
    """Probability of each fault in a clip."""
    naming: float = Field(default=0.005, ge=0)
    """Weight of the family's cross-entropy."""


DATA = frozenset({"seed", "motion_most", "motion_id", "programmed", "pool", "held_out"})
"""Fields of ClipTraining that say which clips are drawn."""


class ClipTraining(Schedule):
    """What training on latent clips shares. The paper's values are in brackets where ours differ."""

    kept: ClassVar[frozenset[str]] = DATA

    clips: int = Field(gt=0)
    """Clips in a batch on one rank [4]."""
    accumulate: int = Field(default=1, gt=0)
    """Batches to an update [4, on 8 ranks]."""
    motion_most: float = Field(default=255, gt=0, le=255)
    """Clips that move more are not drawn (rank of motion)."""
    motion_id: float | None = Field(default=None, ge=0, le=255)
    """Of every clip [127]; None: the rank of its own motion."""
    programmed: float = Field(default=0.0, ge=0, le=1)
    """Whole loops: share of stills that a program moves."""
    pool: int = Field(default=0, ge=0)
    """Whole loops: so many are encoded once and kept; 0: afresh for every draw."""
    held_out: float = Field(default=0.0, ge=0, lt=1)
    """Videos: share of sources that are not learnt from; samples, and so keep=best, are of these."""
    average: Literal["card", "host"] = "card"
    """Where the moving average of the weights is kept: 4 bytes of each that learns. `host`: every update sends them."""
    no_sync: bool = False
    """fsdp: add the batches of an update up before ranks share gradients; they are then whole on every rank."""

    @property
    def clips_drawn(self) -> int:
        """Clips that one rank draws in the whole run: what recipes are given alike."""
        return self.steps * self.accumulate * self.clips


class TeacherTraining(ClipTraining):
    """SVD's denoising objective."""

    kept: ClassVar[frozenset[str]] = DATA | {"frames"}

    frames: int | None = Field(default=None, gt=1)
    """In a clip; None for the model's own number."""
    lr: float = Field(default=1.5e-3, ge=0)
    """Muon."""
    p_mean: float = Field(default=0.7, ge=-20, le=20)
    """Of ln sigma (SVD's image-to-video law)."""
    p_std: float = Field(default=1.6, ge=0, le=20)
    wide: float = Field(default=0.1, ge=0, le=1)
    """Share of noise levels drawn evenly in ln sigma over the sampler's whole range."""
    max_weight: float = Field(default=100.0, gt=0)
    """Cap of the loss weight (1 + sigma^2) / sigma^2."""
    drop: float = Field(default=0.15, ge=0, le=1)
    """Probability of training without the picture, for guidance."""
    ema: float = Field(default=0.998, ge=0, lt=1)


class OneCallTraining(ClipTraining):
    """What every objective of a one-call student shares."""

    kept: ClassVar[frozenset[str]] = DATA | {"start"}

    start: str | None = None
    """A model whose student this one begins as, instead of as the teacher: a name, folder or hub id."""


class StudentTraining(OneCallTraining):
    """SF-V's adversarial fine-tuning. The paper's values are in brackets where ours differ."""

    kept: ClassVar[frozenset[str]] = OneCallTraining.kept | {
        "optimizer",
        "head_optimizer",
        "lora",
        "lora_convs",
        "heads",
        "head_width",
        "differences",
        "backbone_lora",
    }

    lr: float = Field(default=1e-4, ge=0)
    """Of G [1e-5 at 1.5B parameters, SM3]."""
    lr_heads: float = Field(default=1e-3, ge=0)
    """[1e-4]."""
    optimizer: OptimizerName = "adam"
    """Of G [SM3]. adam8: Adam whose averages are kept in 8 bits; needs bitsandbytes, and no fsdp."""
    head_optimizer: OptimizerName = "muon"
    """[SM3]."""
    lora: int = Field(default=0, ge=0)
    """Rank of G's adapters; 0 trains every weight [0]."""
    lora_convs: bool = False
    """Adapters on the convolutions over time too, not on the transformers alone."""
    recompute: bool = False
    """Activation checkpointing of whole residual blocks and transformers."""
    head_updates: int = Field(default=2, gt=0)
    """Of the heads for each of the generator, on fresh clips [1]."""
    levels: int = Field(default=4, gt=1)
    """T of the generator's Karras grid; its lowest level is never drawn."""
    level_weights: tuple[Weight, ...] = (0.05, 0.1, 0.85)
    """Of the levels, low to high [even]."""
    p_mean: float = Field(default=-1.0, ge=-20, le=20)
    """Of ln sigma', what D sees."""
    p_std: float = Field(default=1.0, ge=0, le=20)
    d_noise: Literal["law", "next"] = "law"
    """`next` is the level below G's own, as UFOGen's re-noised sample."""
    real: Literal["data", "teacher"] = "data"
    """What D takes for real: clips, or the teacher's from fresh noise (LADD)."""
    adversarial: float = Field(default=1.0, ge=0)
    """Weight of what D thinks of G's clips; 0 leaves all else: a control."""
    loss: Literal["hinge", "softplus", "relativistic"] = "hinge"
    heads: str = Field(default="st", pattern="^[stc]+$")
    """Letters of the heads at every tap: s(patial), t(emporal), c(lip), which gives one logit."""
    differences: bool = False
    """Heads on how noised latents change from frame to frame, too [none]."""
    backbone_lora: int = Field(default=0, ge=0)
    """Rank of adapters with which D's backbone learns; needs shared=False. With lora, on a copy of its own."""
    shared: bool = True
    """One G forward and one backbone pass serve both updates; the same gradients without."""
    reconstruction: float = Field(default=0.1, ge=0)
    """Lambda."""
    reconstruction_levels: tuple[Weight, ...] = ()
    """Its factor at each of G's levels, low to high [even]."""
    target: Literal["data", "teacher"] = "data"
    """What it is measured to: the real clip, or the teacher's endpoint."""
    target_steps: int = Field(default=8, gt=0)
    """Euler steps to that endpoint, and to what real=teacher shows."""
    target_guidance: float = Field(default=1.0, ge=1)
    """At the last frame; of loops at every one."""
    condition_growth: float = Field(default=0.0, ge=0)
    """Ln of condition noise at G's highest level over the lowest."""
    huber: Literal["clip", "element"] = "element"
    """What the reconstruction's norm is taken of: the whole clip [clip], or every number, averaged."""
    huber_c: float = Field(default=1e-3, gt=0)
    """[not given]."""
    motion_floor: float = Field(default=0.0, ge=0)
    """Weight of moving less than the real clip: squared, what its log variance over time lacks [none]."""
    feature_matching: float = Field(default=0.0, ge=0)
    """Weight of |features(fake) - features(real)| [none]."""
    gamma: float = Field(default=1e-2, ge=0)
    """Of R1 [not given]. Its gradient in the heads is then about a tenth of the adversarial loss's; at 1e-5, as in ADD,
    it is a ten-thousandth, for the same second backward."""
    smoothness: float = Field(default=0.0, ge=0)
    """Weight of approximate R1 and R2 around D's input [none]."""
    perturbation: float = Field(default=0.1, gt=0)
    """Its noise, in latent units."""
    head_width: int = Field(default=96, gt=0)
    sample_every: int = Field(default=0, ge=0)
    """Steps between samples of the averaged student; 0 for none."""
    samples: int = Field(default=16, gt=2)
    """Clips of a sample."""
    keep: Literal["last", "best"] = "last"
    """What the run ends with; best by the samples' Frechet distance and motion."""
    blend: float = Field(default=1.0, gt=0, le=1)
    """The end: teacher + blend * (average - teacher), WiSE-FT 2109.01903."""
    head_start: int = Field(default=80, ge=0)
    """Steps in which only the heads learn."""
    ema: float = Field(default=0.99, ge=0, lt=1)
    """[0.95]."""

    @property
    def clips_drawn(self) -> int:
        """The heads' further updates draw clips of their own."""
        return super().clips_drawn * self.head_updates

    @model_validator(mode="after")
    def _agree(self) -> "StudentTraining":
        for name in ("level_weights", "reconstruction_levels"):
            given = getattr(self, name)
            if (given or name == "level_weights") and len(given) != self.levels - 1:
                raise ValueError(f"{name} has {len(given)} numbers, levels={self.levels} needs {self.levels - 1}")
        if not any(self.level_weights):
            raise ValueError(f"level_weights {list(self.level_weights)} must hold one above 0: no level would be drawn")
        if len(set(self.heads)) < len(self.heads):
            raise ValueError(f"heads={self.heads} names one kind twice")
        if self.keep == "best" and not self.sample_every:
            raise ValueError("keep=best needs sample_every: the best is chosen by samples")
        if self.backbone_lora and self.shared:
            raise ValueError("backbone_lora needs shared=False: features then carry the backbone's gradient")
        return self


class ConsistencyTraining(OneCallTraining):
    """Consistency distillation as AnimateLCM does it. The paper's values are in brackets where ours differ."""

    lr: float = Field(default=1e-5, ge=0)
    """Adam [1e-6]."""
    levels: int = Field(default=40, gt=1)
    """Of the Karras grid between sigma_min and sigma_max."""
    guidance: tuple[float, float] = (1.0, 3.0)
    """Of the teacher's step, as above, drawn evenly for each clip."""
    huber_c: float = Field(default=1e-3, gt=0)
    recompute: bool = False
    """Activation checkpointing of whole residual blocks and transformers."""
    target_ema: float = Field(default=0.95, ge=0, lt=1)
    """Of the network whose answer is the target."""
    blend: float = Field(default=1.0, gt=0, le=1)
    """The end: teacher + blend * (average - teacher)."""
    ema: float = Field(default=0.995, ge=0, lt=1)

    @model_validator(mode="after")
    def _agree(self) -> "ConsistencyTraining":
        if not 1 <= self.guidance[0] <= self.guidance[1]:
            raise ValueError(f"guidance {list(self.guidance)} must be two rising numbers from 1 on")
        return self


class DistributionTraining(OneCallTraining):
    """Distribution matching distillation (DMD; DMD2's updates). Papers' values are in brackets where ours differ."""

    kept: ClassVar[frozenset[str]] = OneCallTraining.kept | {"pairs", "pair_steps", "guidance"}

    lr: float = Field(default=1e-4, ge=0)
    """Of the student, Adam."""
    lr_fake: float = Field(default=2e-4, ge=0)
    """Of the copy that follows the student's clips."""
    fake_updates: int = Field(default=2, gt=0)
    """Of that copy to each of the student's [5]."""
    head_start: int = Field(default=20, ge=0)
    """Steps before the matching begins; in the last 40 the copy learns."""
    pairs: int = Field(default=0, ge=0)
    """Of noise and the teacher's endpoint, which the student regresses to; 0: none."""
    pair_steps: int = Field(default=12, gt=0)
    """Of the teacher to an endpoint."""
    regression: float = Field(default=0.5, ge=0)
    """Weight of the squared distance to it [0.25, of LPIPS]."""
    guidance: float = Field(default=1.5, ge=1)
    """Of the teacher, over frames as when it generates."""
    p_mean: float = Field(default=0.8, ge=-20, le=20)
    """Of ln sigma at which both look."""
    p_std: float = Field(default=1.2, ge=0, le=20)
    max_weight: float = Field(default=100.0, gt=0)
    """Cap of the copy's loss weight (1 + sigma^2) / sigma^2."""
    ema: float = Field(default=0.98, ge=0, lt=1)


class PairTraining(OneCallTraining):
    """Regression to where the guided teacher ends from the same noise: a warm start."""

    kept: ClassVar[frozenset[str]] = OneCallTraining.kept | {"pairs", "pair_steps", "guidance", "lora", "lora_convs"}

    lr: float = Field(default=1e-4, ge=0)
    """Adam."""
    pairs: int = Field(default=2000, gt=0)
    """Of noise and endpoint, made when first drawn and kept in the run folder."""
    pair_steps: int = Field(default=25, gt=0)
    """Of the teacher to an endpoint."""
    guidance: float = Field(default=1.5, ge=1)
    """Of the teacher, over frames as when it generates."""
    differences: float = Field(default=1.0, ge=0)
    """Weight of the error of changes from frame to frame beside the latents' own."""
    lora: int = Field(default=0, ge=0)
    """Rank of adapters; 0 trains every weight."""
    lora_convs: bool = False
    """Adapters on the convolutions over time too, not on the transformers alone."""
    recompute: bool = False
    """Activation checkpointing of whole residual blocks and transformers."""
    ema: float = Field(default=0.995, ge=0, lt=1)


class DriftingTraining(OneCallTraining):
    """Drifting in the frozen teacher's features (2602.04770, 2605.07327), without a discriminator."""

    kept: ClassVar[frozenset[str]] = OneCallTraining.kept | {"lora", "lora_convs"}

    lr: float = Field(default=1e-4, ge=0)
    """Adam."""
    noises: int = Field(default=2, gt=1)
    """Clips generated of each drawn condition: they push each other apart."""
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.05, 0.2, 1.0), min_length=1)
    """Of the kernel, in units of the mean distance."""
    p_mean: float = Field(default=-1.5, ge=-20, le=20)
    """Of ln sigma' at which features are taken."""
    p_std: float = Field(default=0.5, ge=0, le=20)
    lora: int = Field(default=0, ge=0)
    """Rank of adapters; 0 trains every weight."""
    lora_convs: bool = False
    """Adapters on the convolutions over time too, not on the transformers alone."""
    recompute: bool = False
    """Activation checkpointing of whole residual blocks and transformers."""
    ema: float = Field(default=0.995, ge=0, lt=1)


Stages = tuple[Schedule, ...]
