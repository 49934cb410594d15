"""`labels: family`: a tile's block says which tile it is, in the family's tokens; nothing else changes.

Spans: families, tiling, batches.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiled_pages import planned, tile_page
from wdstream.batches.sample import build_sample
from wdstream.errors import ConfigError, FamilyError
from wdstream.families.registry import load_family
from wdstream.records import ImageSegment, TextSegment
from wdstream.tiling.policy import TilingPolicy

GRID: dict[str, Any] = {"kind": "grid", "grid": (2, 3), "tile_size": 364, "overview_size": 364, "reading_order": "rtl"}
OWN = TilingPolicy(**GRID, own_labels=True)


@pytest.mark.parametrize("name", ["idefics3", "smolvlm"])
def test_names_of_tiles_are_in_their_blocks(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name])
    page = tile_page((620, 877), "text", OWN)
    assert [part.text for part in page.segments if isinstance(part, TextSegment)] == ["\n"] * 6 + ["text"]
    labels = [part.label for part in page.segments if isinstance(part, ImageSegment)]
    assert labels == ["<global_img>", *(f"<row{row}_col{column}>" for row in range(3) for column in (1, 0))]
    ids = build_sample(page, family).input_ids.tolist()
    names = ["<global-img>", *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (2, 1))]
    mark = family.encoder.find_id("<fake_token_around_image>")
    starts = [place for place, number in enumerate(ids) if number == mark][::2]
    assert [ids[place + 1] for place in starts] == [family.encoder.find_id(name) for name in names]


@pytest.mark.parametrize("name", ["idefics3", "smolvlm"])
def test_lengths_are_those_without_labels(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name])
    bare = TilingPolicy(**GRID, tile_labels=False)
    for size in [(620, 877), (1, 1), (90, 4000)]:
        built = build_sample(tile_page(size, "text", OWN), family)
        assert (built.num_tokens, built.num_patches) == planned(family, size, "text", OWN)
        assert planned(family, size, "text", OWN) == planned(family, size, "text", bare)
    plain, own = (build_sample(tile_page((620, 877), "text", policy), family) for policy in (bare, OWN))
    assert np.count_nonzero(own.input_ids != plain.input_ids) == 6


def test_tiles_beyond_the_names_are_called_as_the_whole(tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models["smolvlm"])
    assert family.labelled_ids((512, 512), "<row6_col0>").tolist() == family.image_ids(512, 512).tolist()
    assert family.labelled_ids((512, 512), "<row5_col5>")[1] == family.encoder.find_id("<row_6_col_6>")


def test_other_families_have_none(tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models["qwen2_5_vl"])
    with pytest.raises(ConfigError, match=r"tiling\.labels: family: this model has no tokens for tiles of its own"):
        OWN.for_family(family)
    with pytest.raises(FamilyError, match="qwen2_5_vl has no tokens of its own"):
        family.labelled_ids((28, 28), "<row0_col0>")
