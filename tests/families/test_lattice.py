"""Tokens of images of all sizes against the processors' own formulas, and whole runs of the processors."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers.image_utils import ChannelDimension
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from tests.families.draw import POLICIES
from tests.families.hf import load_both
from tests.families.test_exact_lengths import tile_page
from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.reference import comparable, load_processor, processor_ids
from wdstream.records import Size

EDGES = [
    1,
    2,
    3,
    13,
    14,
    15,
    27,
    28,
    29,
    47,
    48,
    49,
    55,
    56,
    57,
    895,
    896,
    897,
    1023,
    1024,
    1025,
    1540,
    1541,
    4095,
    4096,
]
NAMES = ["gemma3", "gemma4", "paligemma", "paligemma2", "glm4v", "paddleocr_vl", "llava", "mistral3", "aya_vision"]
Count = Callable[[Any, Size], int]


def draw_sizes(count: int, seed: str) -> list[Size]:
    """Sizes of 1 to 4,096 pixels: both sides free, one of them 1, strips of all aspect ratios, neighbours of limits."""
    draw = random.Random(seed)
    sides = [lambda: 1, lambda: draw.randint(1, 60), lambda: draw.randint(1, 4096), lambda: draw.choice(EDGES)]
    return [(draw.choice(sides)(), draw.choice(sides)()) for _ in range(count)]


def by_formula(processor: Any, size: Size) -> int:
    """Placeholders by the processor's own formula."""
    return int(processor._get_num_multimodal_tokens(image_sizes=[(size[1], size[0])]).num_image_tokens[0])


def by_patches(processor: Any, size: Size) -> int:
    """Start, end, and a placeholder for 4 patches of the image processor; -1 where it raises."""
    try:
        return 2 + int(processor.image_processor.get_number_of_image_patches(size[1], size[0], {})) // 4
    except ValueError:
        return -1


def by_rows(processor: Any, size: Size) -> int:
    """Rows of the resized image, -1 for none; the processor's formula itself would make an image of every size."""
    settings, unit = processor.image_processor, processor.patch_size * processor.spatial_merge_size
    image = np.broadcast_to(np.uint8(0), (3, size[1], size[0]))
    height, width = get_resize_output_image_size(
        image, settings.size["longest_edge"], (unit, unit), input_data_format=ChannelDimension.FIRST
    )
    return int(height // unit) * (int(width // unit) + 1) if min(height, width) else -1


COUNTS: dict[str, Count] = {
    "gemma3": lambda processor, size: by_formula(processor, size) + 4,  # start, end, and newlines on both sides
    "gemma4": lambda processor, size: by_formula(processor, size) + 2,
    "paligemma": by_formula,
    "paligemma2": by_formula,
    "glm4v": by_patches,
    "paddleocr_vl": by_patches,
    "llava": by_rows,
    "mistral3": by_rows,
    "aya_vision": by_formula,
}


@pytest.fixture(scope="module", params=[*NAMES, "aya_vision whole"])
def both(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> tuple[Family, Any]:
    name, _, mode = request.param.partition(" ")
    if not mode:
        return load_both(tiny_models[name])
    family = load_both(tiny_models[name])[0].for_whole_images()
    assert family.is_splitting
    return family, load_processor(family)


def check_counts(family: Family, processor: Any, sizes: list[Size]) -> None:
    columns = np.array(sizes, dtype=np.int64)
    tokens, patches = family.image_cost(columns[:, 0], columns[:, 1])
    count = COUNTS[family.name]
    assert tokens.tolist() == [count(processor, size) for size in sizes]
    assert ((patches > 0) == (tokens > 0)).all()


def test_planned_is_counted(both: tuple[Family, Any]) -> None:
    check_counts(*both, draw_sizes(1000, "sizes"))


@pytest.mark.slow
def test_planned_is_counted_100_000(both: tuple[Family, Any]) -> None:
    check_counts(*both, draw_sizes(100_000, "many sizes"))


def test_built_is_planned(both: tuple[Family, Any]) -> None:
    family, _ = both
    sizes = draw_sizes(150, "built")
    columns = np.array(sizes, dtype=np.int64)
    tokens, _ = family.image_cost(columns[:, 0], columns[:, 1])
    for size, count in zip(sizes, tokens.tolist(), strict=True):
        if count < 0:
            with pytest.raises(FamilyError, match="refuses an image"):
                family.image_ids(*size)
        else:
            assert len(family.image_ids(*size)) == count


def test_ids_are_the_processors(both: tuple[Family, Any]) -> None:
    """Through the processor's whole run, tiles and labels and text; images left whole, too."""
    family, processor = both
    pages = [((310, 440), "Ein Text.\nMit Zeilen.\n"), ((40, 450), ""), ((250, 250), "漢字 😀")]
    policies = [POLICIES["none"]] if family.is_splitting else [POLICIES["grid"], POLICIES["none"], POLICIES["adaptive"]]
    for size, text in pages:
        for policy in policies:
            page = comparable(tile_page(size, text, policy), family)
            ours = build_sample(page, family).input_ids.tolist()
            assert ours == [*processor_ids(processor, family, page), family.eos_id], (size, text, policy)
