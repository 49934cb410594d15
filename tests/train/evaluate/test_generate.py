"""Where a prompt ends and what should follow, on documents of every kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, GenerationConfig

from wdstream.batches.collate import encode_pack
from wdstream.batches.sample import build_sample
from wdstream.errors import RowError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.families.shared.chat import render_chat
from wdstream.records import LabelledPage, Page, Size, TextSegment
from wdstream.testing import make_document
from wdstream.text.messages import segments_from_messages
from wdstream.train.evaluate.generate import Prompt, cut_prompt, greedy, stop_ids, text_of_ids, write_ids


@pytest.fixture(scope="module")
def family(tiny_model: Path) -> Family:
    return load_family(tiny_model)


def document(*parts: str | Size, given: int = 0) -> LabelledPage:
    """Parts in reading order, the first `given` texts not supervised."""
    page = make_document("page", parts)
    texts = [part for part in page.segments if isinstance(part, TextSegment)]
    unsupervised = texts[:given]
    segments = [
        replace(part, is_supervised=False) if isinstance(part, TextSegment) and part in unsupervised else part
        for part in page.segments
    ]
    return replace(page, segments=tuple(segments))


def cut(page: LabelledPage, family: Family) -> Prompt:
    return cut_prompt(encode_pack([build_sample(page, family)], family), family)


def chat(*messages: dict[str, Any]) -> LabelledPage:
    num_images = sum(part["type"] == "image" for message in messages for part in message["content"])
    segments = segments_from_messages(list(messages), num_images=num_images)
    tiles = make_document("tile", [(56, 56)] * num_images).tiles
    return LabelledPage(key="chat", tiles=tiles, segments=segments)


def written_out(page: LabelledPage, family: Family) -> LabelledPage:
    rendered = render_chat(Page(key=page.key, images=(b"",) * len(page.tiles), segments=page.segments), family)
    return replace(page, segments=rendered.segments)


def turn(role: str, *content: str) -> dict[str, Any]:
    parts = [{"type": "image"} if part == "" else {"type": "text", "text": part} for part in content]
    return {"role": role, "content": parts}


def test_a_page_is_cut_where_its_text_begins(family: Family) -> None:
    page = document("<row0_col0>", (56, 56), "\n<row0_col1>", (56, 28), "The text\nof the page.", given=2)
    prompt, whole = cut(page, family), build_sample(page, family)
    start = len(prompt.pack.input_ids)
    assert (prompt.pack.labels == -100).all()
    assert prompt.pack.input_ids.tolist() == whole.input_ids[:start].tolist()
    assert prompt.reference.tolist() == whole.input_ids[start:-1].tolist()  # all but EOS
    assert text_of_ids(prompt.reference, family) == "The text\nof the page."
    assert prompt.pack.lengths == (start,)
    assert prompt.pack.position_ids.shape == (4, start)
    assert len(prompt.pack.pixels["image_grid_thw"]) == 2


def test_the_last_of_several_texts_is_asked_for(family: Family) -> None:
    prompt = cut(document((56, 56), "First text.", (28, 56), "Second."), family)
    assert text_of_ids(prompt.reference, family) == "Second."
    assert "First text." in text_of_ids(prompt.pack.input_ids, family)


def test_a_chat_row_is_cut_before_its_last_answer(family: Family) -> None:
    messages = (turn("user", "", "What is it?"), turn("assistant", "A page."), turn("user", "Sure?"))
    page = written_out(chat(*messages, turn("assistant", "Yes, 漢字.")), family)
    prompt = cut(page, family)
    assert text_of_ids(prompt.reference, family) == "Yes, 漢字."
    given = family.encoder.decode(prompt.pack.input_ids.tolist())
    assert "A page." in given
    assert given.endswith("<|im_start|>assistant\n")


def test_a_chat_row_without_an_image_has_a_prompt(family: Family) -> None:
    page = written_out(chat(turn("user", "Say it."), turn("assistant", "It.")), family)
    assert text_of_ids(cut(page, family).reference, family) == "It."


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (document("Only text."), "has nothing before it"),
        (document("Text, then", (56, 56)), "has nothing before it"),
        (document((56, 56), "Text, then", (56, 28)), "images after its last text"),
        (document((56, 56), "Given.", given=1), "no text of it is supervised"),
        (document((56, 56)), "no text of it is supervised"),
    ],
)
def test_pages_that_cannot_be_asked_for(page: LabelledPage, message: str, family: Family) -> None:
    with pytest.raises(RowError, match=message):
        cut(page, family)


def test_what_opens_every_document_is_not_enough_of_a_prompt(tiny_models: dict[str, Path]) -> None:
    paligemma = load_family(tiny_models["paligemma"])
    assert paligemma.prefix_tokens == 2  # BOS, and the newline that ends a prompt
    with pytest.raises(RowError, match="has nothing before it"):
        cut(document("Only text."), paligemma)
    assert text_of_ids(cut(document((56, 56), "Read."), paligemma).reference, paligemma) == "Read."


def test_settings_of_the_checkpoint_play_no_part_but_its_end_tokens(family: Family) -> None:
    model = AutoModelForImageTextToText.from_pretrained(family.model_dir).eval()
    prompt = cut(document((56, 56), "Read."), family)
    plain = write_ids(model, family, prompt, dtype=torch.float32, max_new_tokens=6)
    assert len(plain) == 6
    own = GenerationConfig(do_sample=True, temperature=9.0, repetition_penalty=5.0, eos_token_id=[plain[3]])
    model.generation_config = own
    assert stop_ids(model, family) == {family.eos_id, plain[3]}
    end = plain.index(plain[3]) + 1
    assert write_ids(model, family, prompt, dtype=torch.float32, max_new_tokens=6) == plain[:end]
    assert model.generation_config is own
    with pytest.raises(KeyError), greedy(model, family, 1):
        raise KeyError
    assert model.generation_config is own
