"""diffusers' and transformers' own classes over our networks' weights: what our numbers and speed are held against."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
import transformers
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from sfv.families.svd.clip_tower import ClipTower
from sfv.families.svd.network import Network


def stock_on_meta(cls: str, config: Mapping[str, Any]) -> Any:
    """A network of diffusers on the meta device; frozen."""
    with torch.device("meta"):
        network = getattr(diffusers, cls)(**{k: v for k, v in config.items() if not k.startswith("_")})
    return network.to("meta").eval().requires_grad_(False)  # buffers made from numbers start on the CPU


def stock_twin(network: Network) -> Any:
    """Their class with the very same weights."""
    config = network.config.model_dump()
    with torch.device("meta"), quiet():  # no second copy of the weights
        if isinstance(network, ClipTower):
            twin = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
        else:
            twin = getattr(diffusers, network.theirs())(**config)
    twin.load_state_dict(network.state_dict(), assign=True)
    if isinstance(network, ClipTower):
        patches = twin.vision_model.embeddings
        patches.position_ids = torch.arange(patches.num_positions, device=network.device)[None]
    return twin.eval().requires_grad_(False)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the two libraries' loading chatter and bars; errors still raise."""
    voices = (diffusers.utils.logging, transformers.utils.logging)
    before = [(v.get_verbosity(), v.is_progress_bar_enabled()) for v in voices]
    for voice in voices:
        voice.set_verbosity(logging.CRITICAL)
        voice.disable_progress_bar()
    try:
        yield
    finally:
        for voice, (verbosity, bar) in zip(voices, before, strict=True):
            voice.set_verbosity(verbosity)
            (voice.enable_progress_bar if bar else voice.disable_progress_bar)()
