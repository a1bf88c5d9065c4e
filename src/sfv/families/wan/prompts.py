"""Words -> what the transformer attends to: UMT5's embeddings, made once and kept.

The text encoder (UMT5-XXL: 5.7 billion weights, 11 GB) is larger than the network that makes the clip, so it is opened
for a new prompt, on the CPU, and closed again. Embeddings are kept in memory, in the user's cache and, for the empty
prompt and those used since, in every model folder that is written: such a folder makes clips without a text encoder.
"""

import hashlib
import html
import re
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, UMT5EncoderModel

from sfv.errors import SfvError
from sfv.families.svd.network import variant_of
from sfv.families.svd.stock_networks import quiet
from sfv.media import cache_folder, replacing
from sfv.system.files import make_folder

LENGTH = 512
"""Tokens that the transformer attends to: words, then zeros (the pipeline's max_sequence_length)."""
ENCODER, TOKENIZER, KEPT = "text_encoder", "tokenizer", "prompts.safetensors"
CURE = f"fetch the model's {ENCODER} and {TOKENIZER} folders, or leave the prompt out"
Words = Float[Tensor, "tokens e"]


class Prompts:
    """Embeddings by prompt: (tokens, e), no zeros after them. Not a module: nothing here learns or moves to a GPU."""

    def __init__(self, folder: Path, encoder_hash: str) -> None:
        """`folder` is a model's; `encoder_hash` is of its text encoder's weights, empty where it has none."""
        self.folder, self.encoder_hash = folder, encoder_hash
        self.known = _kept(folder / KEPT)

    def __call__(self, prompt: str) -> Words:
        """SfvError if it is new and the folder has no text encoder."""
        name = named(prompt)
        if name not in self.known:
            self.known[name] = self._cached(name) if self._cache(name).is_file() else self._made(prompt, name)
        return self.known[name]

    def save(self, folder: Path) -> None:
        """Write all that is known, the empty prompt among it, into a model's folder."""
        self("")
        make_folder(folder)
        with replacing(folder / KEPT) as beside:
            save_file({k: v.contiguous() for k, v in self.known.items()}, beside, {"format": "pt"})

    def _cache(self, name: str) -> Path:
        return cache_folder() / "prompts" / self.encoder_hash / f"{name}.safetensors" if self.encoder_hash else Path()

    def _cached(self, name: str) -> Words:
        return _kept(self._cache(name))[name]

    def _made(self, prompt: str, name: str) -> Words:
        if not self.encoder_hash:
            what = f"prompt {prompt!r}" if prompt else "the empty prompt"
            raise SfvError(f"{what}: {self.folder} has no {ENCODER} and no embedding of it in {KEPT}; {CURE}")
        words = embedded(cleaned(prompt), self.folder)
        path = self._cache(name)
        make_folder(path.parent)
        with replacing(path) as beside:
            save_file({name: words}, beside)
        return words


def named(prompt: str) -> str:
    """16 hex digits of a prompt as the model reads it."""
    return hashlib.sha256(cleaned(prompt).encode()).hexdigest()[:16]


def cleaned(prompt: str) -> str:
    """Entities undone and white space made single, as the pipeline does (it also mends wrongly decoded text)."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()


def padded(words: Float[Tensor, "b tokens e"]) -> Float[Tensor, "b length e"]:
    """Zeros after the words: the transformer attends to them too."""
    return torch.nn.functional.pad(words, (0, 0, 0, LENGTH - words.shape[1]))


@torch.no_grad()
def embedded(text: str, folder: Path) -> Words:
    """The last hidden states of one text, in the precision that the encoder is stored in.

    The text alone, without padding: attention to padding is masked in the pipeline, which gives the same numbers.
    """
    tokenizer, encoder = _opened(folder)
    ids = tokenizer(text, truncation=True, max_length=LENGTH, return_tensors="pt").input_ids
    words: Tensor = encoder(ids).last_hidden_state[0]
    return words.contiguous()


def _opened(folder: Path) -> tuple[Any, Any]:
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder / TOKENIZER, **local)
            stored = {"dtype": "auto", "use_safetensors": True, "variant": variant_of(folder / ENCODER)}
            encoder = UMT5EncoderModel.from_pretrained(folder / ENCODER, **stored, **local)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError, SfvError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SfvError(f"{folder / ENCODER} or its {TOKENIZER} cannot be opened ({reason}); {CURE}") from error
    return tokenizer, encoder.eval()


def _kept(path: Path) -> dict[str, Tensor]:
    """A file of embeddings; empty if there is none."""
    try:
        return dict(load_file(path)) if path.is_file() else {}
    except (SafetensorError, OSError) as error:
        raise SfvError(f"{path} is damaged ({error}); delete it") from error
