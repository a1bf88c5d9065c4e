"""One model of several fine-tunes of one model: the average of their denoisers' weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.load import export, keep_models, load, model_folder, save_denoiser
from sfv.families.settings import AverageSettings
from sfv.system.progress import bar

Weights = dict[str, Tensor]


def average(models: Sequence[str | Path], out: Path, settings: AverageSettings | None = None) -> Path:
    """Write a folder like the first model's, whose denoiser has the weighted mean of all models' weights.

    What was fine-tuned in several ways from one start is often better averaged than any of it alone, at no cost when
    it is used ("Model soups", Wortsman et al. 2022, arXiv 2203.05482; equal shares there). Models are folders or
    embedded names, the sum is in float32. SfvError if a denoiser is of another shape, shares are not as many as
    models, or `out` is one of them or holds what sfv did not write.
    """
    want = settings or AverageSettings()
    shares = _shares(models, want)
    folders = [model_folder(m) for m in models]
    if out.expanduser().resolve() in [f.resolve() for f in folders]:
        raise SfvError(f"{out} is one of the models; name a new folder")
    keep_models(out, "name a new folder")
    total: Weights = {}
    with bar(desc="averaging", unit="model", total=len(models)) as shown:
        for model, share in zip(models, shares, strict=True):
            last = load(model)
            _add(total, last.denoiser.state_dict(), share, f"{model} has another denoiser than {models[0]}")
            shown.update()
    defaults = load(models[0]).defaults
    defaults = defaults if want.motion is None else defaults.model_copy(update={"motion": want.motion})
    last.denoiser.load_state_dict(total)
    dtype = getattr(torch, want.precision)
    export(folders[0], out, dtype)
    save_denoiser(replace(last, defaults=defaults), out, "unet", dtype)
    return out


def _shares(models: Sequence[str | Path], want: AverageSettings) -> list[float]:
    """They sum to 1."""
    if len(models) < 2:
        raise SfvError("an average needs two models or more; name another")
    if want.shares and len(want.shares) != len(models):
        raise SfvError(f"{len(want.shares)} shares for {len(models)} models; give one for each")
    shares = want.shares or (1.0,) * len(models)
    return [share / sum(shares) for share in shares]


def _add(total: Weights, weights: Weights, share: float, otherwise: str) -> None:
    """Add a model's share; SfvError if its weights are not of the same shapes."""
    if total and {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in total.items()}:
        raise SfvError(f"{otherwise}; average fine-tunes of one model")
    for key, value in weights.items():
        part = value.float() * share if value.is_floating_point() else value
        total[key] = total[key] + part if key in total and value.is_floating_point() else part
