"""Commands about models: train, average, import, export, count, optimise."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from tyro.conf import Positional, arg

from sfv.cli.flags import Flags
from sfv.costs.settings import AccountSettings
from sfv.families.settings import AverageSettings
from sfv.families.svd.settings import ImportSettings
from sfv.settings import Profile
from sfv.training.config import TrainRequest


class Optimize(Flags):
    """Find out what runs a model quickest on this machine: every backend is timed and kept for --backend auto."""

    model: Annotated[Positional[str], arg(metavar="MODEL")] = "sticker"
    """Embedded model (sticker, sticker-teacher), a diffusers folder, or a hub id."""
    profile: Profile = "fast"
    """exact or fast, as in `sfv generate`."""
    backends: tuple[str, ...] = Field(default=("eager", "compile", "openvino"), min_length=1)
    """Those to try; what is not installed is named and left out."""
    rounds: int = Field(default=7, gt=0, le=1000)
    """Clips that are timed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.speed.search import prepare

        print(prepare(self.model, self.profile, self.backends, self.rounds, self.device))
        return 0


class Count(Flags, AccountSettings):
    """Count a model's arithmetic and memory, and predict time and money, for clips and training, before you rent."""

    model: Annotated[Positional[str], arg(metavar="MODEL")] = "svd"
    """svd, svd-xt, wan-5b (sizes alone, nothing is opened), an embedded model, a diffusers folder, or a hub id."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of tables."""

    def run(self) -> int:
        """Exit code."""
        from sfv.costs.account import account

        counted = account(self.fill(AccountSettings))
        print(counted.model_dump_json(indent=1) if self.json_ else counted.text())
        return 0


class Train(Flags, TrainRequest):
    """Train a part of a model, from codec to matte, or the recogniser; the same command resumes. torchrun works too."""

    part: Annotated[
        Positional[str], arg(metavar="codec|picture-encoder|teacher|student|decoder|matte|stiffness|recogniser")
    ]
    """What to train. Each part needs the ones before it in MODEL; the recogniser, which `sfv evaluate` uses, none."""
    store: Annotated[Positional[Path], arg(metavar="STORE")]
    """A clip store (sfv pack), or video shards (sfv encode)."""
    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model folder that is filled part by part; the student's folder opens in diffusers."""
    set_: Annotated[tuple[str, ...], arg(name="set", metavar="[N.]FIELD=VALUE")] = ()
    """Overrides of the preset's fields, in the last stage; N.FIELD=VALUE in stage N."""
    init: Annotated[Path | None, arg(metavar="MODEL")] = None
    """Start from another model folder's weights of this part (and all parts before it) instead of from nothing."""
    dry_run: bool = False
    """Print the resolved configuration, and what teacher and student will need, and stop."""

    def run(self) -> int:
        """Exit code."""
        request = self.fill(TrainRequest)
        if self.dry_run:
            from sfv.costs.outlook import outlook

            print(json.dumps(outlook(request), indent=1))
            return 0
        from sfv.training.train import train

        print(train(request))
        return 0


class Report(Flags):
    """Write a run folder as one HTML page, of several stages one for each: alarms, curves, samples, configuration."""

    run_dir: Annotated[Positional[Path], arg(metavar="RUN")]
    """A run folder, such as MODEL/runs/student."""
    against: Annotated[Path | None, arg(metavar="RUN")] = None
    """Another run's folder or log.jsonl, drawn in grey behind the curves, such as docs/results/curves/student.jsonl."""

    def run(self) -> int:
        """Exit code."""
        from sfv.training.report import write_reports

        pages, missing = write_reports(self.run_dir, self.against)
        print(*pages, sep="\n")
        for sentence in missing:
            print(f"sfv: {sentence}", file=sys.stderr)
        return 0


class Average(Flags, AverageSettings):
    """Make one model of several fine-tunes of one model: the average of their denoisers' weights."""

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL...")]
    """Model folders, or embedded models (sticker), before any flags. All but the denoiser comes from the first."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="OUT")]
    """The folder to make."""

    def run(self) -> int:
        """Exit code."""
        from sfv.families.averaging import average
        from sfv.families.load import model_folder, notice

        made = average(self.models, self.out, self.fill(AverageSettings))
        licence = notice(model_folder(self.models[0]))
        print(f"{made}{licence and f'. {licence}'}")
        return 0


class Import(Flags, ImportSettings):
    """Make a model folder of one file of UNet weights (AnimateLCM-SVD and other fine-tunes) and an SVD folder."""

    file: Annotated[Positional[Path], arg(metavar="UNET.safetensors")]
    """The weights, under diffusers' or the original names; of a whole checkpoint only the UNet is taken."""
    base: Annotated[Positional[Path], arg(metavar="SVD")]
    """The folder that everything else comes from."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder to make."""

    def run(self) -> int:
        """Exit code."""
        from sfv.families.svd import folder as svd_folder
        from sfv.families.svd.import_unet import import_unet

        settings = self.fill(ImportSettings)
        print(f"{import_unet(self.file, self.base, self.out, settings)}. {svd_folder.NOTICE}")
        return 0


class Export(Flags):
    """Write a model folder anew, without its training runs: for diffusers, as one file for ComfyUI, or its LoRA."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A model folder, or an embedded model (sticker)."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder to write; a .safetensors file for single-file, lora and lora-peft."""
    to: Literal["diffusers", "single-file", "lora", "lora-peft", "onnx", "web"] = "diffusers"
    """diffusers: a folder, which StableVideoDiffusionPipeline opens if the model is SVD's, and WanImageToVideoPipeline
    if it is Wan's. single-file: the original key layout (of Wan, the transformer alone). lora: a student's adapters by
    ComfyUI's names; lora-peft: for diffusers, by PEFT (docs/training.md). onnx: a folder of the model's networks, and
    what makes a clip with them; web: a page for any static host, in which the browser makes the clips
    (docs/browser.md)."""
    precision: Literal["float16", "bfloat16", "float32"] = "float16"
    """What the weights are stored in (a LoRA stays as it is; a page has float16)."""
    runtime: Annotated[Path | None, arg(metavar="FILE.tgz")] = None
    """onnxruntime-web's package for a page, from the npm registry; without it, it is fetched once."""

    def run(self) -> int:
        """Exit code."""
        import torch

        from sfv.families.load import export, export_lora, export_single, model_folder, notice

        dtype = getattr(torch, self.precision)
        folder = model_folder(self.model)
        said, licence = "", notice(folder)
        if self.to == "diffusers":
            export(folder, self.out, dtype)
        elif self.to == "single-file":
            said = export_single(folder, self.out, dtype)
        elif self.to in ("lora", "lora-peft"):
            export_lora(folder, self.out, "comfyui" if self.to == "lora" else "peft")
        elif self.to == "web":
            from sfv.browser.export import export_page

            size = export_page(folder, self.out, self.runtime)
            print(f"{self.out}: {size / 1e6:.1f} MB. Look at it: python -m http.server --directory {self.out} 8123")
            return 0
        else:
            from sfv.speed.onnx import export_onnx

            export_onnx(folder, self.out, self.precision)
        kept = [f for f in self.out.rglob("*") if f.suffix in (".safetensors", ".onnx", ".data")]
        files = [self.out] if self.out.is_file() else kept
        if said:
            print(f"sfv: {said}", file=sys.stderr)
        print(f"{self.out}: {sum(f.stat().st_size for f in files) / 1e6:.1f} MB of weights.{licence and f' {licence}'}")
        return 0
