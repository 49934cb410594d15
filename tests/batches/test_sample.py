"""Ids and labels of a page: what is supervised, what is masked, to the token."""

from dataclasses import replace

import numpy as np
import pytest

from wdstream.batches.sample import build_sample, build_samples
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.records import ImageSegment, LabelledPage, TextSegment, TokenSegment
from wdstream.testing import make_document


def supervised(family: Family, parts: list[str | tuple[int, int]]) -> list[int]:
    sample = build_sample(make_document("k", parts), family)
    supervised: list[int] = sample.labels[sample.labels != -100].tolist()
    return supervised


def test_image_then_text(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    sample = build_sample(make_document("k", [(112, 56), "some text"]), family)
    text = family.encoder.encode("some text")
    start, pad, end = (family.encoder.find_id(f"<|{name}|>") for name in ("vision_start", "image_pad", "vision_end"))
    block = [start, *[pad] * 8, end]
    assert sample.input_ids.tolist() == [*block, *text, family.eos_id]
    assert sample.labels.tolist() == [*[-100] * 10, *text, family.eos_id]
    assert (sample.num_tokens, sample.num_patches) == (10 + len(text) + 1, 32)
    assert sample.input_ids.dtype == sample.labels.dtype == np.int64


def test_first_token_of_text_is_not_supervised(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    text = family.encoder.encode("two words")
    assert supervised(family, ["two words"]) == [*text[1:], family.eos_id]


def test_labels_of_tiles_are_masked(families: dict[str, Family]) -> None:
    family = families["qwen3_vl"]
    page = make_document("k", [(64, 64), "\n<row0_col0>", (64, 64), "the text"])
    segments = tuple(
        TextSegment(text=part.text, is_supervised=False)
        if isinstance(part, TextSegment) and part.text.startswith("\n")
        else part
        for part in page.segments
    )
    sample = build_sample(LabelledPage(key="k", tiles=page.tiles, segments=segments), family)
    assert sample.labels[sample.labels != -100].tolist() == [*family.encoder.encode("the text"), family.eos_id]


@pytest.mark.parametrize(("parts", "num_eos"), [([""], 0), ([(56, 56)], 1), ([(56, 56), ""], 1)])
def test_eos_is_supervised_unless_it_is_all(
    parts: list[str | tuple[int, int]], num_eos: int, families: dict[str, Family]
) -> None:
    family = families["qwen2_5_vl"]
    assert supervised(family, parts) == [family.eos_id] * num_eos


def test_eos_is_supervised_when_it_is_the_padding_too(
    families: dict[str, Family], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = families["qwen2_5_vl"]
    monkeypatch.setattr(family, "eos_id", family.pad_id)
    assert supervised(family, [(56, 56), "x"])[-1] == family.pad_id


def test_a_bos_is_put_first_and_masked(families: dict[str, Family], monkeypatch: pytest.MonkeyPatch) -> None:
    family = families["qwen2_5_vl"]
    monkeypatch.setattr(family, "opening_ids", (family.pad_id,))
    sample = build_sample(make_document("k", ["two words"]), family)
    text = family.encoder.encode("two words")
    assert sample.input_ids.tolist() == [family.pad_id, *text, family.eos_id]
    assert sample.labels.tolist() == [-100, *text, family.eos_id]


def test_two_ids_that_open_a_document_are_masked(families: dict[str, Family]) -> None:
    family = families["glm4v"]
    opening = [family.encoder.find_id(name) for name in ("[gMASK]", "<sop>")]
    sample = build_sample(make_document("k", ["some text"]), family)
    text = family.encoder.encode("some text")
    assert sample.input_ids.tolist() == [*opening, *text, family.eos_id]
    assert sample.labels.tolist() == [-100, -100, *text, family.eos_id]


def test_tiles_come_in_the_order_of_their_blocks(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    page = make_document("k", [(112, 56), "text", (56, 56)])
    swapped = replace(page, segments=(ImageSegment(index=1), page.segments[1], ImageSegment(index=0)))
    sample = build_sample(swapped, family)
    assert [tile.shape[:2] for tile in sample.tiles] == [(56, 56), (56, 112)]
    text = len(family.encoder.encode("text"))
    assert np.flatnonzero(sample.input_ids == family.image_id).tolist() == [*range(1, 5), *range(7 + text, 15 + text)]


def test_refused_tile_is_named(families: dict[str, Family]) -> None:
    with pytest.raises(FamilyError, match="refuses an image of 402x2 pixels"):
        build_sample(make_document("k", [(402, 2)]), families["qwen2_5_vl"])


def test_text_that_continues_does_not_learn_its_end(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    page = replace(make_document("k", [(56, 56), "two words"]), continues=True)
    sample = build_sample(page, family)
    assert sample.input_ids[-1] == family.eos_id
    assert sample.labels[sample.labels != -100].tolist() == family.encoder.encode("two words")


@pytest.mark.parametrize("name", ["qwen2_5_vl", "idefics3", "gemma3"])
def test_pages_of_a_pack_are_those_built_one_by_one(name: str, families: dict[str, Family]) -> None:
    family = families[name]
    chat = LabelledPage(key="chat", tiles=(), segments=(TokenSegment(ids=(5, 6, 7), is_supervised=True),))
    pages = [
        make_document("two", [(112, 56), "\n<row0_col1>", (56, 84), "some text"]),
        make_document("text", ["words, and no image"]),
        chat,
        make_document("image", [(84, 84)]),
        replace(make_document("part", [(56, 56), "first", "second"]), continues=True),
    ]
    samples = build_samples(pages, family)
    assert [sample.key for sample in samples] == ["two", "text", "chat", "image", "part"]
    for page, sample in zip(pages, samples, strict=True):
        alone = build_sample(page, family)
        assert sample.input_ids.tolist() == alone.input_ids.tolist()
        assert sample.labels.tolist() == alone.labels.tolist()
        assert (sample.num_patches, sample.tiles) == (alone.num_patches, page.tiles)
    assert samples[1].num_patches == samples[2].num_patches == 0
    assert build_samples([], family) == []
