"""Tiny models load offline with the Auto classes, are the same bytes each time, and tokenise without loss."""

import hashlib
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from wdstream.errors import FamilyError
from wdstream.testing import make_tiny_model

CLASSES = {
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", "Qwen2VL"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "Qwen2VL"),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "Qwen2VL"),
    "idefics3": ("Idefics3ForConditionalGeneration", "Idefics3"),
    "smolvlm": ("SmolVLMForConditionalGeneration", "SmolVLM"),
    "llava_onevision": ("LlavaOnevisionForConditionalGeneration", "LlavaOnevision"),
    "internvl": ("InternVLForConditionalGeneration", "GotOcr2"),
    "got_ocr2": ("GotOcr2ForConditionalGeneration", "GotOcr2"),
    "lighton_ocr": ("LightOnOcrForConditionalGeneration", "Pixtral"),
}
ENDS = {
    "idefics3": ("<end_of_utterance>", "<|reserved_special_token_0|>"),
    "smolvlm": ("<end_of_utterance>", "<|im_end|>"),
    "got_ocr2": ("<|endoftext|>", "<|endoftext|>"),
}
"""(EOS, padding) where they are not Qwen's."""
TEXTS = ["plain words", "e\u0301 é 漢字 مرحبا 1234567", "tabs\t\r\n\n\n   end ", "\x00\x07\ufffd", "😀" * 5, ""]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("family", CLASSES)
def test_loads_with_auto_classes(family: str, tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model", family=family, vocab_size=2048)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(model).__name__ == CLASSES[family][0]
    assert AutoConfig.from_pretrained(folder).model_type == family
    assert type(AutoImageProcessor.from_pretrained(folder)).__name__ == f"{CLASSES[family][1]}ImageProcessorPil"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 2048
    assert (tokenizer.eos_token, tokenizer.pad_token) == ENDS.get(family, ("<|im_end|>", "<|endoftext|>"))
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip_is_lossless_and_equal_to_the_auto_tokenizer(text: str, tiny_models: dict[str, Path]) -> None:
    core = Tokenizer.from_file(str(tiny_models["qwen2_5_vl"] / "tokenizer.json"))
    ids = core.encode(text, add_special_tokens=False).ids
    assert core.decode(ids, skip_special_tokens=False) == text
    assert AutoTokenizer.from_pretrained(tiny_models["qwen2_5_vl"])(text, add_special_tokens=False).input_ids == ids


def test_same_seed_same_bytes_and_global_random_state_untouched(tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = digests(make_tiny_model(tmp_path / "a", vocab_size=1024))
    assert torch.equal(torch.get_rng_state(), before)
    assert digests(make_tiny_model(tmp_path / "b", vocab_size=1024)) == first
    other = digests(make_tiny_model(tmp_path / "c", vocab_size=1024, seed=1))
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors"}


def test_whole_vocabulary_is_kept_on_demand(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model", vocab_size=0)
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert core.get_vocab_size() == 127_997 + 22  # the package's BPE without its own special tokens, and Qwen's tokens
    assert len(core.encode(" the", add_special_tokens=False).ids) == 1


def test_a_given_tokenizer_keeps_its_ids(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", vocab_size=1024)
    again = make_tiny_model(tmp_path / "again", tokenizer=base, vocab_size=0)
    assert (again / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match=r"no tiny model of family 'mllama'; known: .*qwen3_vl"):
        make_tiny_model(tmp_path / "a", family="mllama")
    with pytest.raises(FamilyError, match=r"tokenizer\.json: no such file"):
        make_tiny_model(tmp_path / "a", tokenizer=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FamilyError, match="not empty"):
        make_tiny_model(tmp_path / "full")
