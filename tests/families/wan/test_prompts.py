"""Words: the pipeline's own embeddings, made once."""

import shutil
from pathlib import Path

import pytest
import tiny_wan
import torch

from sfv.errors import SfvError
from sfv.families.wan import prompts
from sfv.families.wan.prompts import Prompts, padded

TEXT = "  a cat &amp; a dog\n jump "


def test_embeddings_equal_the_pipeline(wan_folder: Path) -> None:
    """Which pads to 512 tokens and masks them; a text that is too long is cut in both."""
    pipe = tiny_wan.stock(wan_folder)
    for text in ("", TEXT, "jump, " * 200):
        want = pipe.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=512)[0]
        got = padded(Prompts(wan_folder, "some-encoder")(text)[None])
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_prompt_is_embedded_once(wan_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFV_CACHE", str(tmp_path))
    asked: list[str] = []
    real = prompts.embedded
    monkeypatch.setattr(prompts, "embedded", lambda text, folder: asked.append(text) or real(text, folder))
    first, second = Prompts(wan_folder, "one"), Prompts(wan_folder, "one")
    assert torch.equal(first(TEXT), first("a cat & a dog jump")) and torch.equal(second(TEXT), first(TEXT))
    assert asked == ["a cat & a dog jump"]
    Prompts(wan_folder, "another")(TEXT)
    assert len(asked) == 2


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer"])
def test_a_damaged_encoder_is_said(wan_folder: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(wan_folder, tmp_path / "wan")
    for file in (tmp_path / "wan" / part).iterdir():
        file.write_bytes(b"not this")
    with pytest.raises(SfvError, match="cannot be opened .* leave the prompt out"):
        Prompts(tmp_path / "wan", "damaged")("a new prompt")


def test_a_damaged_file_of_prompts_is_said(wan_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(wan_folder, tmp_path / "wan")
    (tmp_path / "wan" / "prompts.safetensors").write_bytes(b"not this")
    with pytest.raises(SfvError, match="prompts.safetensors is damaged"):
        Prompts(tmp_path / "wan", "")
