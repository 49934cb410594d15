"""A page that a model writes: the same ids as the Hugging Face way, and as one training pass after another gives.

ours        `write_ids`: the prompt cut from training arrays, `model.generate` with its cache
theirs      the model's own processor on the same text and tiles, `model.generate`
one by one  no cache: `family.model_inputs` with positions and masks as in training, the likeliest token appended

Spans: families, batches, train.
"""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, GenerationConfig

from tests.helpers.hugging_face import load_both
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.registry import FAMILIES, load_family
from wdstream.records import ImageSegment, Ints, LabelledPage, Sample, TextSegment
from wdstream.testing import make_document
from wdstream.train.evaluate.generate import Prompt, cut_prompt, prompt_inputs, write_ids

NEW_TOKENS = 8
TYPED = ("qwen2_5_vl", "gemma3", "gemma4", "paligemma")
"""Families whose model has to be passed what the tokens of a prompt are; others are like one of these."""
SPLITTING = ("idefics3", "smolvlm", "llava_onevision", "internvl", "aya_vision")


def load(family: Family, attention: str | None = None) -> Any:
    """The tiny model with weights scaled by 3, so that attention and positions decide what it writes."""
    setting = family.attention_setting(attention or family.attention[0])
    model = AutoModelForImageTextToText.from_pretrained(family.model_dir, attn_implementation=setting)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3)
    return model.eval()


def page_of(family: Family) -> LabelledPage:
    """Two tiles that the family does not resize, each with a label, a question, and a text to write."""
    wide, high = family.resized(96, 64), family.resized(64, 64)
    page = make_document("page", ("<row0_col0>", wide, "<row0_col1>", high, "Read all of it:", "The answer."))
    return replace(page, segments=tuple(supervised_last(page)))


def supervised_last(page: LabelledPage) -> list[TextSegment | ImageSegment]:
    parts = [part for part in page.segments if isinstance(part, TextSegment | ImageSegment)]
    return [
        replace(part, is_supervised=False) if isinstance(part, TextSegment) and part is not parts[-1] else part
        for part in parts
    ]


def prompt_of(sample: Sample, family: Family) -> Prompt:
    return cut_prompt(encode_pack([sample], family), family)


def training_inputs(sample: Sample, prompt: Prompt, written: list[int], family: Family) -> dict[str, Any]:
    """A training pass over the prompt and what is written so far."""
    labels = np.concatenate([prompt.pack.labels, np.array(written, dtype=np.int64)])
    ids = np.concatenate([prompt.pack.input_ids, np.array(written, dtype=np.int64)])
    longer = replace(sample, input_ids=ids, labels=labels)
    inputs = family.model_inputs(collate([encode_pack([longer], family)], family), device="cpu", dtype=torch.float32)
    return {key: value for key, value in inputs.items() if key != "labels"}


def written_one_by_one(model: Any, sample: Sample, prompt: Prompt, family: Family) -> tuple[list[int], torch.Tensor]:
    """Ids, and the logits (NEW_TOKENS, vocabulary) from which they were chosen; EOS ends nothing."""
    written: list[int] = []
    logits = []
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            logits.append(model(**training_inputs(sample, prompt, written, family)).logits[0, -1].float())
            written.append(int(logits[-1].argmax()))
    return written, torch.stack(logits)


def generated_logits(model: Any, inputs: dict[str, Any], family: Family) -> torch.Tensor:
    """The raw logits (NEW_TOKENS, vocabulary) from which generate chooses with these arguments."""
    settings = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        eos_token_id=family.eos_id,
        pad_token_id=family.pad_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    with torch.no_grad():
        return torch.stack(model.generate(**inputs, generation_config=settings).logits)[:, 0].float()


def processor_inputs(processor: Any, model: Any, family: Family, page: LabelledPage, ids: Ints) -> dict[str, Any]:
    """What a user of transformers gives `generate`: the processor's output for the prompt alone."""
    rules = family.processor_rules()
    texts = rules.texts_of(replace(page, segments=page.segments[:-1]), family.image_prompt)["text"]
    images = rules.images_of([Image.fromarray(tile) for tile in page.tiles])
    found = processor(text=texts, images=images, return_tensors="np", return_mm_token_type_ids=True)
    if not rules.melts_newlines:
        assert found["input_ids"][0].tolist() == ids.tolist()
    known = inspect.signature(model.forward).parameters.keys() - {"labels"}
    tensors = {key: torch.as_tensor(np.asarray(value)) for key, value in found.items() if key in known}
    return {**tensors, "input_ids": torch.from_numpy(ids)[None]}


def assert_written_as_in_training(model: Any, sample: Sample, prompt: Prompt, family: Family) -> list[int]:
    """The ids that are written, up to EOS."""
    wanted, logits = written_one_by_one(model, sample, prompt, family)
    written = write_ids(model, family, prompt, dtype=torch.float32, max_new_tokens=NEW_TOKENS)
    assert written == wanted[: len(written)]
    assert len(written) == NEW_TOKENS or written[-1] == family.eos_id
    inputs = prompt_inputs(prompt.pack, family, device=model.device, dtype=torch.float32)
    assert float((generated_logits(model, inputs, family) - logits).abs().max()) < 1e-4 * float(logits.abs().max())
    return written


@pytest.mark.parametrize("name", FAMILIES)
def test_written_ids_are_those_of_transformers_and_of_training(name: str, tiny_models: dict[str, Path]) -> None:
    family, processor = load_both(tiny_models[name])
    family = family.for_attention(family.attention[0])
    model, page = load(family), page_of(family)
    sample = build_sample(page, family)
    prompt = prompt_of(sample, family)
    written = assert_written_as_in_training(model, sample, prompt, family)
    theirs = processor_inputs(processor, model, family, page, prompt.pack.input_ids)
    found = model.generate(**theirs, do_sample=False, max_new_tokens=NEW_TOKENS)
    assert found[0, len(prompt.pack.input_ids) :].tolist() == written


@pytest.mark.parametrize("name", TYPED)
def test_without_the_types_of_its_tokens_a_prompt_is_read_otherwise(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name]).for_attention("eager")
    model = load(family, "eager")  # sdpa may leave out a mask that it was not passed, and be right by chance
    prompt = prompt_of(build_sample(page_of(family), family), family)
    inputs = prompt_inputs(prompt.pack, family, device=model.device, dtype=torch.float32)
    types = family.prompt_arrays(prompt.pack.input_ids[None], prompt.pack.labels[None])
    bare = {key: value for key, value in inputs.items() if key not in types}
    right, wrong = (generated_logits(model, given, family)[0] for given in (inputs, bare))
    assert float((right - wrong).abs().max()) > 1e-2 * float(right.abs().max())


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3", "paligemma", "paligemma2", "idefics3"])
def test_the_last_text_of_several_is_written(name: str, tiny_models: dict[str, Path]) -> None:
    """Texts between images are part of the prompt, though they are supervised as well."""
    family = load_family(tiny_models[name])
    family = family.for_attention(family.attention[0])
    page = make_document("page", ((40, 40), "First supervised.", (56, 40), "Then this."))
    sample, model = build_sample(page, family), load(family)
    prompt = prompt_of(sample, family)
    assert family.encoder.decode(prompt.reference.tolist()) == "Then this."
    assert (prompt.pack.labels != -100).sum() > 0
    assert_written_as_in_training(model, sample, prompt, family)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPLITTING)
def test_whole_images_are_read_as_in_training(name: str, tiny_models: dict[str, Path]) -> None:
    """Images that the family splits by itself."""
    family = load_family(tiny_models[name]).for_whole_images().for_attention("sdpa")
    page = make_document("page", ((150, 90), "The answer."))
    sample, model = build_sample(page, family), load(family)
    assert len(family.layout(sample.tiles)["pixel_values"]) > 1
    assert_written_as_in_training(model, sample, prompt_of(sample, family), family)
