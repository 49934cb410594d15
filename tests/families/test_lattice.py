"""Planned == built == counted by the model's own processor: every family, tiled and untiled, all sizes and texts.

Counts are those of the processors' own formulas and tokenizers, so that 100,000 sizes take minutes; some documents go
through a whole run of the processor, pixels and all, and are compared id by id.

Spans: families, batches, text.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.draw import POLICIES, draw_sizes, draw_unicode
from tests.helpers.hugging_face import count_placeholders, load_both
from tests.helpers.published import PUBLISHED, SPLITTING, publish
from tests.helpers.tiled_pages import tile_page
from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.reference.processor import comparable, load_processor, processor_ids
from wdstream.families.registry import FAMILIES
from wdstream.records import Size
from wdstream.text.characters import replace_surrogates

CASES = [*((name, "tiles") for name in FAMILIES), *((name, "whole") for name in SPLITTING)]
Both = tuple[Family, Any]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def both(
    request: pytest.FixtureRequest, tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Both:
    """A family, with the published numbers of patches where the tiny model has others, and its processor."""
    name, mode = request.param
    path = tiny_models[name]
    if name in PUBLISHED:
        path = publish(path, tmp_path_factory.mktemp("published") / name, name)
    family, processor = load_both(path)
    if mode == "tiles":
        return family, processor
    whole = family.for_whole_images()
    assert whole.is_splitting
    return whole, load_processor(whole)


def test_families_that_split_are_all_here(tiny_models: dict[str, Path]) -> None:
    whole = {name: load_both(tiny_models[name])[0].for_whole_images() for name in FAMILIES if name != "got_ocr2"}
    assert {name for name, family in whole.items() if family.is_splitting} == {*SPLITTING} - {"got_ocr2"}


def check_sizes(both: Both, sizes: list[Size]) -> None:
    """Planned tokens == ids built == the processor's count; a size that it refuses is refused."""
    family, processor = both
    columns = np.array(sizes, dtype=np.int64)
    tokens, patches = family.image_cost(columns[:, 0], columns[:, 1])
    assert ((patches > 0) == (tokens > 0)).all()
    for size, planned in zip(sizes, tokens.tolist(), strict=True):
        assert count_placeholders(processor, family, size) == planned, size
        if planned > 0:
            assert len(family.image_ids(*size)) == planned, size
            continue
        with pytest.raises(FamilyError, match="refuses an image"):
            family.image_ids(*size)


def check_texts(both: Both, count: int, seed: str) -> None:
    """Random Unicode: planned tokens == those of the processor's tokenizer, and none of them is structural."""
    family, processor = both
    draw = random.Random(seed)
    texts = [draw_unicode(draw) for _ in range(count)]
    known = processor.tokenizer([replace_surrogates(text) for text in texts], add_special_tokens=False)["input_ids"]
    for text, ids in zip(texts, known, strict=True):
        assert family.encoder.encode(text) == ids, text
        assert family.text_cost(text) == len(ids)
        assert family.structural_ids.isdisjoint(ids)


def test_all_sizes_and_texts(both: Both) -> None:
    check_sizes(both, draw_sizes(500, "sizes"))
    check_texts(both, 500, "texts")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_100_000_sizes_and_texts(both: Both) -> None:
    check_sizes(both, draw_sizes(100_000, "many sizes"))
    check_texts(both, 100_000, "many texts")


PAGES: list[tuple[Size, str]] = [((310, 440), "Ein Text.\nMit Zeilen.\n"), ((40, 450), ""), ((250, 250), "漢字 😀")]


def test_ids_are_the_processors(both: Both) -> None:
    """Through the processor's whole run, tiles and labels and text; images left whole, too."""
    family, processor = both
    policies = [POLICIES["none"]] if family.is_splitting else [POLICIES["grid"], POLICIES["none"], POLICIES["adaptive"]]
    for size, text in PAGES[: 1 if family.is_splitting else 3]:
        for policy in policies:
            page = comparable(tile_page(size, text, policy), family)
            ours = build_sample(page, family).input_ids.tolist()
            assert ours == [*processor_ids(processor, family, page), family.eos_id], (size, text, policy)
