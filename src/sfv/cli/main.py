"""Flags and exit codes; no tensors. Every command is a pydantic model, so help, checks and Python share one schema."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tyro.conf import Positional, arg, subcommand

from sfv.errors import SfvError
from sfv.serve.settings import ServeSettings
from sfv.settings import (
    AccountSettings,
    EncodeSettings,
    EvaluateSettings,
    Format,
    ImportSettings,
    Profile,
    Settings,
    Speed,
    Spread,
    StudySettings,
)
from sfv.system.memory import keep_memory

Pictures = Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
Out = Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")]


class FlagError(SfvError):
    """A flag's value is impossible."""


class Flags(BaseModel):
    """A command: its fields are its flags; a value out of range becomes one sentence."""

    model_config = ConfigDict(extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            where = [f"--{str(name).rstrip('_').replace('_', '-')} {first['input']}: " for name in first["loc"][:1]]
            raise FlagError("".join(where) + said[0].lower() + said[1:]) from error


def _spread(command: Spread, ray: bool) -> Spread:
    """A command's flags of Ray; FlagError if they are given without it."""
    spread = Spread(**command.model_dump(include=set(Spread.model_fields)))
    if not ray and spread != Spread():
        raise FlagError("--ray-address, --ray-workers and --ray-threads need --ray")
    return spread


class Generate(Flags, Settings, Speed, Spread):
    """Animate pictures: files or folders of files, one clip each."""

    images: Pictures
    """Pictures, or folders of pictures."""
    out: Out = None
    """Folder for the clips, or one file name for one picture; beside the picture if not given."""
    model: str = "sticker"
    """Embedded model (sticker, sticker-teacher), a diffusers folder, or a hub id."""
    format: Format | None = None
    """File format; taken from --out if that names a file, else mp4."""
    keep_still: Path | None = None
    """A picture as a mask: white keeps still, with a soft edge; black moves. Of the picture's own shape."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print one JSON object per clip instead of text."""
    resume: bool = False
    """Keep manifest.jsonl beside the clips, and leave alone what it says is done and whole."""
    ray: bool = False
    """Spread many pictures over processes and machines with Ray Data; always resumes (docs/scale.md)."""

    def run(self) -> int:
        """Exit code: 0, or 1 if any picture failed."""
        made = failed = 0
        for report in self._reports():
            bad = "error" in report
            made, failed = made + (not bad), failed + bad
            if bad or self.json_ or not self.ray:
                _say(report, self.json_)
        if (self.ray or self.resume) and not self.json_:
            print(f"{made} made, {failed} failed; the others were there already")
        return int(failed > 0)

    def _reports(self) -> Iterator[dict[str, Any]]:
        settings = Settings(**self.model_dump(include=set(Settings.model_fields)))
        speed = Speed(**self.model_dump(include=set(Speed.model_fields)))
        spread = _spread(self, self.ray)
        asked = (self.images, self.model, settings, self.out, self.format, self.device, speed)
        if not self.ray:
            from sfv.batch.animate import animate_files

            return animate_files(*asked, self.resume, self.keep_still)
        if self.keep_still is not None:
            raise SfvError("--keep-still goes with one machine: leave it or --ray out")
        from sfv.ray.folder import animate_folder

        return animate_folder(*asked, spread)


class Replay(Flags):
    """Make a clip again from the parameters inside it."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """A clip that sfv wrote."""
    out: Out = None
    """Where to write it; FILE-replay beside FILE if not given."""
    model: str | None = None
    """Another model than the one that made it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.batch.animate import replay

        _say(replay(self.file, self.out, self.model, self.device), False)
        return 0


class Compare(Flags, Settings, Speed):
    """Animate one picture with several models and write them side by side, each with its time."""

    image: Annotated[Positional[Path | None], arg(metavar="IMAGE")] = None
    """A picture; the bundled example if not given."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("out")
    """Folder for the clips."""
    models: tuple[str, ...] = ("sticker", "sticker-teacher")
    """Models, the first named is the subject."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.batch.animate import compare

        settings = Settings(**self.model_dump(include=set(Settings.model_fields)))
        speed = Speed(**self.model_dump(include=set(Speed.model_fields)))
        for line in compare(self.image, self.models, settings, self.out, self.device, speed):
            print(line)
        return 0


class Bench(Flags, Settings, Speed):
    """Time models from picture on disk to mp4 on disk: warm, interleaved, stage by stage, as ratios."""

    image: Annotated[Positional[Path | None], arg(metavar="IMAGE")] = None
    """A picture; the bundled example if not given."""
    models: tuple[str, ...] = ("sticker", "sticker-teacher")
    """MODEL[@PROFILE[/BACKEND]][:STEPS]; diffusers=MODEL[:STEPS] is diffusers' own. Told in the first's seconds."""
    rounds: int = Field(default=7, gt=0, le=1000)
    """Clips of each model that are timed."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """JSON file for the result; a picture of it goes beside it as .svg."""
    against: Path | None = None
    """An earlier result of the same picture and settings, to be compared with."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.batch.animate import example
        from sfv.bench.run import bench

        settings = Settings(**self.model_dump(include=set(Settings.model_fields)))
        image, speed = self.image or example(), Speed(**self.model_dump(include=set(Speed.model_fields)))
        print(bench(image, self.models, settings, self.rounds, self.out, self.device, self.against, speed))
        return 0


class Demo(Flags, Speed):
    """Serve a page that animates pictures: drop one, race the models, play live; opens a browser."""

    models: tuple[str, ...] = ("sticker", "sticker-teacher")
    """MODEL[@PROFILE[/BACKEND]][:STEPS]; the first animates, all of them race."""
    host: str = "127.0.0.1"
    """Address to listen at; with any other than this machine's own, others can use the page."""
    port: int = Field(default=7860, ge=0, le=65535)
    """Port, or the next free one; 0 is any."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    open: bool = True
    """Open a browser once the model is loaded."""

    def run(self) -> int:
        """Exit code."""
        try:
            from sfv.demo.app import run_demo
        except ModuleNotFoundError as error:
            raise SfvError(f'the page needs {error.name}; install it with: pip install "sfv[serve]"') from error
        speed = Speed(**self.model_dump(include=set(Speed.model_fields)))
        run_demo(self.models, self.host, self.port, self.device, speed, self.open)
        return 0


class Optimize(Flags):
    """Find out what runs a model quickest on this machine: every backend is timed and kept for --backend auto."""

    model: Annotated[Positional[str], arg(metavar="MODEL")] = "sticker"
    """Embedded model (sticker, sticker-teacher), a diffusers folder, or a hub id."""
    profile: Profile = "fast"
    """exact or fast, as in `sfv generate`."""
    backends: tuple[str, ...] = ("eager", "compile", "openvino")
    """Those to try; what is not installed is told and left out."""
    rounds: int = Field(default=7, gt=0, le=1000)
    """Clips that are timed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.speed.search import prepare

        print(prepare(self.model, self.profile, self.backends, self.rounds, self.device))
        return 0


class Doctor(Flags):
    """Tell what this machine has, how models would be run on it, what is missing, and the cure. Repairs nothing."""

    no_run: bool = False
    """Leave out the real clip."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Exit code: 0 if `sfv generate` would work, else 1."""
        from sfv.doctor import examine

        found = examine(not self.no_run, self.device)
        print(json.dumps(found.model_dump() | {"works": found.works}) if self.json_ else found.text())
        return int(not found.works)


class Evaluate(Flags, EvaluateSettings):
    """Measure models against real clips: Frechet distances with intervals, motion, consistency, seconds; a report."""

    place: Annotated[Positional[Path | None], arg(metavar="DATA")] = None
    """A clip store (sfv pack), or a folder of videos."""
    data: Path | None = None
    """The same as DATA."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out/evaluation")
    """Folder for table.json, table.md, table.tex, index.html and the clips made."""

    def run(self) -> int:
        """Exit code."""
        from sfv.evaluation.evaluate import evaluate

        data = self.place or self.data
        if data is None or (self.place and self.data):
            raise FlagError("--data: name one clip store (sfv pack) or one folder of videos")
        result = evaluate(data, EvaluateSettings(**self.model_dump(include=set(EvaluateSettings.model_fields))))
        print(f"{result.text()}\n\n{self.out / 'index.html'}")
        return 0


class Study(Flags, StudySettings):
    """Spoil real clips by degrees (noise, blur, freezing, shuffling, ...) and show which network sees what."""

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """A clip store (sfv pack), or a folder of videos."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out/study")
    """Folder for study.json, study.md and study.svg."""

    def run(self) -> int:
        """Exit code."""
        from sfv.evaluation.corruption_study import study

        print(study(self.data, StudySettings(**self.model_dump(include=set(StudySettings.model_fields)))))
        return 0


class Pack(Flags):
    """Decode a sticker set (clips.zip, index.json) into a clip store for training and evaluation."""

    source: Positional[Path]
    """Folder with clips.zip and index.json, and perhaps stills.zip, pictures that programs will move."""
    store: Positional[Path]
    """Folder to make."""
    per_family: int = Field(default=4, gt=0)
    """Training clips kept of one family; validation keeps all."""

    def run(self) -> int:
        """Exit code."""
        from sfv.data.loops import pack_set

        store, stills = pack_set(self.source, self.store, self.per_family)
        print(f"{self.store}: {len(store.clips)} clips, {sum(c.count for c in store.clips)} frames, {stills} stills")
        return 0


class Encode(Flags, EncodeSettings):
    """Turn videos into latent shards for training: cut into scenes, fitted, scored; the same command resumes."""

    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEOS...")]
    """Folders, files, globs, CSV or JSONL manifests (column "path"), or tars."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="SHARDS")]
    """Folder for the shards."""
    model: str = "sticker"
    """Whose codec and picture encoder: an embedded model, a diffusers folder, or a hub id."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.data.encode_videos import encode_videos

        settings = EncodeSettings(**self.model_dump(include=set(EncodeSettings.model_fields)))
        print(encode_videos(self.videos, self.model, self.out, settings, self.device))
        return 0


class Count(Flags, AccountSettings):
    """Count a model's arithmetic and memory, and predict time and money, for clips and training, before you rent."""

    model: Annotated[Positional[str], arg(metavar="MODEL")] = "svd"
    """svd, svd-xt (sizes alone, nothing is opened), an embedded model, a diffusers folder, or a hub id."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of tables."""

    def run(self) -> int:
        """Exit code."""
        from sfv.costs.account import account

        told = account(AccountSettings(**self.model_dump(include=set(AccountSettings.model_fields))))
        print(told.model_dump_json(indent=1) if self.json_ else told.text())
        return 0


class Train(Flags):
    """Train a part of a model, from codec to matte, or the recogniser; the same command resumes. torchrun works too."""

    part: Annotated[Positional[str], arg(metavar="codec|picture-encoder|teacher|student|decoder|matte|recogniser")]
    """What to train. Each part needs the ones before it in MODEL; the recogniser, which `sfv evaluate` uses, none."""
    store: Positional[Path]
    """A clip store (sfv pack), or video shards (sfv encode)."""
    model: Positional[Path]
    """Model folder that is filled part by part; the student's folder opens in diffusers."""
    preset: str = "sticker-cpu"
    """Preset of steps, batch and rates (see sfv.training.config.PRESETS)."""
    set_: Annotated[tuple[str, ...], arg(name="set", metavar="[N.]FIELD=VALUE")] = ()
    """Overrides of the preset's fields, in the last stage; N.FIELD=VALUE in stage N."""
    threads: int = Field(default=0, ge=0)
    """CPU threads (0 = PyTorch's choice)."""
    init: Annotated[Path | None, arg(metavar="MODEL")] = None
    """Start from another model folder's weights of this part (and all parts before it) instead of from nothing."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: every rank holds the whole model, or a shard of it."""
    dry_run: bool = False
    """Print the resolved configuration and stop."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Exit code."""
        from sfv.training.train import train_part

        how = (self.preset, self.set_, self.threads, self.dry_run, self.device, self.init, self.parallel)
        print(train_part(self.part, self.store, self.model, *how))
        return 0


class Report(Flags):
    """Write a run folder as one HTML page: alarms, curves, samples, configuration."""

    run_dir: Annotated[Positional[Path], arg(metavar="RUN")]
    """A run folder, such as MODEL/runs/student."""
    against: Annotated[Path | None, arg(metavar="RUN")] = None
    """Another run's folder or log.jsonl, drawn in grey behind the curves, such as docs/curves/student.jsonl."""

    def run(self) -> int:
        """Exit code."""
        from sfv.training.report import write_report

        print(write_report(self.run_dir, self.against))
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

        how = ImportSettings(**self.model_dump(include=set(ImportSettings.model_fields)))
        print(f"{import_unet(self.file, self.base, self.out, how)}. {svd_folder.NOTICE}")
        return 0


class Export(Flags):
    """Write a model folder anew, without its training runs: for diffusers, as one file for ComfyUI, or its LoRA."""

    model: Positional[Path]
    """A model folder."""
    out: Positional[Path]
    """The folder to write; a .safetensors file for single-file and lora."""
    to: Literal["diffusers", "single-file", "lora", "onnx"] = "diffusers"
    """diffusers: a folder, which StableVideoDiffusionPipeline opens if the model is SVD's. single-file: the original
    SVD key layout. onnx: a folder of the model's networks in float32."""
    precision: Literal["float16", "bfloat16", "float32"] = "float16"
    """What the weights are stored in (a LoRA stays as it is)."""

    def run(self) -> int:
        """Exit code."""
        import torch

        from sfv.families import export, is_svd
        from sfv.families.svd import folder as svd_folder

        kind = getattr(torch, self.precision)
        svd = is_svd(self.model)
        if self.to in ("single-file", "lora") and not svd:
            raise SfvError(f"{self.model} is no SVD-architecture model, so no other program opens it as {self.to}")
        if self.to == "diffusers":
            export(self.model, self.out, kind)
        elif self.to == "single-file":
            svd_folder.export_single(self.model, self.out, kind)
        elif self.to == "lora":
            svd_folder.export_lora(self.model, self.out)
        else:
            from sfv.speed.onnx import export_onnx

            export_onnx(self.model, self.out)
        kept = [f for f in self.out.rglob("*") if f.suffix in (".safetensors", ".onnx", ".data")]
        files = [self.out] if self.out.is_file() else kept
        notice = f" {svd_folder.NOTICE}" if svd else ""
        print(f"{self.out}: {sum(f.stat().st_size for f in files) / 1e6:.1f} MB of weights.{notice}")
        return 0


class Serve(Flags, ServeSettings, Spread):
    """Animate pictures over HTTP: a queue that outlives restarts, one worker process per device (docs/serve.md)."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network, which wants --keys and a proxy with TLS in front."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port to listen on."""
    new_key: Annotated[str | None, arg(metavar="NAME")] = None
    """Add an API key to the file of --keys, print it once, and stop."""
    ray: bool = False
    """Run it as a Ray Serve deployment whose replicas, up to --ray-workers, come and go with the load."""

    def run(self) -> int:
        """Exit code."""
        if self.new_key is not None:
            return self._make_key(self.new_key)
        settings = ServeSettings(**self.model_dump(include=set(ServeSettings.model_fields)))
        spread = _spread(self, self.ray)
        if self.ray:
            from sfv.ray.serving import serve_on_ray

            serve_on_ray(settings, self.host, self.port, spread)
            return 0
        from sfv.serve import serve

        serve(settings, self.host, self.port)
        return 0

    def _make_key(self, name: str) -> int:
        from sfv.serve.keys import new_key

        if self.keys is None:
            raise FlagError("--new-key: name the file of keys with --keys FILE")
        print(new_key(self.keys, name))
        return 0


Command = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Replay, subcommand("replay")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Demo, subcommand("demo")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Optimize, subcommand("optimize")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Study, subcommand("study")]
    | Annotated[Pack, subcommand("pack")]
    | Annotated[Encode, subcommand("encode")]
    | Annotated[Count, subcommand("account")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Serve, subcommand("serve")]
)


def _say(report: dict[str, Any], as_json: bool) -> None:
    """One clip's report: JSON on stdout, or a line for people; failures go to stderr in words."""
    if as_json:
        print(json.dumps(report), flush=True)
    elif "error" in report:
        print(f"sfv: {report['error']}", file=sys.stderr, flush=True)
    else:
        stages = ", ".join(f"{k} {v:.3f} s" for k, v in report["seconds"].items())
        print(f"{report['out']}\n  {report['calls']} network call(s); {stages}", flush=True)
        if report["speed"]:
            print(f"  {report['speed']['profile']}, {report['speed']['reason']}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn SfvError into one sentence and exit code 1 (2 for bad flags)."""
    try:
        keep_memory()
        words = _gathered(sys.argv[1:] if argv is None else argv)
        command: Any = tyro.cli(Command, prog="sfv", args=words, description=DESCRIPTION)  # type: ignore[call-overload]
        return int(command.run())
    except SfvError as error:
        print(f"sfv: {error}", file=sys.stderr)
        return 2 if isinstance(error, FlagError) else 1
    except KeyboardInterrupt:
        print("sfv: stopped", file=sys.stderr)
        return 130


def _gathered(words: list[str]) -> list[str]:
    """All that several `--set` say behind one: of a flag that is given again, tyro keeps the last alone."""
    if words.count("--set") < 2:
        return words
    rest, values, inside = list[str](), list[str](), False
    for word in words:
        inside = word == "--set" or (inside and not word.startswith("-"))
        if word != "--set":
            (values if inside else rest).append(word)
    return [*rest, "--set", *values]


def entry() -> NoReturn:
    """Console script."""
    sys.exit(main())


DESCRIPTION = "One forward pass from a still to a moving picture."
