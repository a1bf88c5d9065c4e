"""One model of several fine-tunes of one model: the average of their denoisers' weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sfv.edm.denoiser import Denoiser
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import check_apart, export, load, model_folder, save_denoiser
from sfv.families.settings import AverageSettings
from sfv.system.files import new_folder
from sfv.system.progress import bar


def average(models: Sequence[str | Path], out: str | Path, settings: AverageSettings | None = None) -> Path:
    """Write a folder like the first model's, whose denoiser has the weighted mean of all models' weights.

    What was fine-tuned in several ways from one start is often better averaged than any of it alone, at no cost when
    it is used ("Model soups", Wortsman et al. 2022, arXiv 2203.05482; equal shares there). Models are folders or
    embedded names. The sum is in float32: two of them are held at once. SfvError if a denoiser is of another
    architecture, shares are not as many as models, or `out` is there already.
    """
    if isinstance(models, str | Path):
        raise SfvError(f"models is one name, {models}; give a list of two or more")
    want, place = settings or AverageSettings(), Path(out).expanduser()
    shares = _shares(models, want)
    folders = [model_folder(m) for m in models]
    if place.exists():
        raise SfvError(f"{place} is there already; name a new folder")
    check_apart(folders[0], place)
    dtype = getattr(torch, want.precision)
    with new_folder(place) as made:  # first: what was read and added must not be lost at the end
        mean = _mean(models, shares, want)
        export(folders[0], made, dtype)
        save_denoiser(mean, made, "unet", dtype)
    return place


def _mean(models: Sequence[str | Path], shares: Sequence[float], want: AverageSettings) -> VideoModel:
    """The first model, whose denoiser has the mean's weights."""
    with bar(desc="averaging", unit="model", total=len(models)) as shown:
        mean = _moving(load(models[0]), want)
        _scale(mean.denoiser, shares[0])
        shown.update()
        for model, share in zip(models[1:], shares[1:], strict=True):
            _add(mean.denoiser, load(model).denoiser, share, f"{model} has another denoiser than {models[0]}")
            shown.update()
    return mean


def _shares(models: Sequence[str | Path], want: AverageSettings) -> list[float]:
    """They sum to 1."""
    if len(models) < 2:
        raise SfvError("an average needs two models or more; name another")
    if want.shares and len(want.shares) != len(models):
        raise SfvError(f"{len(want.shares)} shares for {len(models)} models; give one for each")
    shares = want.shares or (1.0,) * len(models)
    return [share / sum(shares) for share in shares]


@torch.no_grad()
def _scale(denoiser: Denoiser, share: float) -> None:
    for value in denoiser.state_dict().values():
        if value.is_floating_point():
            value.mul_(share)


@torch.no_grad()
def _add(total: Denoiser, other: Denoiser, share: float, otherwise: str) -> None:
    """Add a share of another's weights; SfvError if they are not of the same architecture."""
    mine, theirs = total.state_dict(), other.state_dict()
    alike = {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}
    if not alike or _configuration(total) != _configuration(other):
        raise SfvError(f"{otherwise}; average fine-tunes of one model")
    for key, value in mine.items():
        if value.is_floating_point():
            value.add_(theirs[key], alpha=share)


def _configuration(denoiser: Denoiser) -> list[dict[str, Any]]:
    """Of its networks, without notes of where they came from."""
    found: list[Any] = [part.config for part in denoiser.children() if hasattr(part, "config")]
    return [{k: v for k, v in dict(config).items() if not k.startswith("_")} for config in found]


def _moving(mean: VideoModel, want: AverageSettings) -> VideoModel:
    """With the motion asked for as its default."""
    if want.motion is None:
        return mean
    if not mean.limits.lively:
        raise SfvError(f"{mean.name} takes no motion; leave --motion out")
    return replace(mean, defaults=mean.defaults.model_copy(update={"motion": want.motion}))
