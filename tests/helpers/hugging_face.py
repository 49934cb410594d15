"""The Hugging Face side of the comparisons."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers.image_utils import ChannelDimension
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor
from wdstream.families.registry import load_family
from wdstream.records import Size

Count = Callable[[Any, Size], int]


def load_both(path: Path) -> tuple[Family, Any]:
    """The family of a checkpoint, and the checkpoint's own processor."""
    family = load_family(path)
    return family, load_processor(family)


def count_placeholders(processor: Any, family: Family, size: Size) -> int:
    """Tokens that the processor gives an image of this (width, height), the ids around it included; -1: refused."""
    if family.name == "llava_onevision" and not family.is_splitting:  # its formula is for images that are alone
        return int(processor.num_image_tokens) + 1
    return COUNTS.get(family.name, by_formula)(processor, size)


def by_formula(processor: Any, size: Size) -> int:
    """By the processor's own formula."""
    return int(processor._get_num_multimodal_tokens(image_sizes=[(size[1], size[0])]).num_image_tokens[0])


def by_patches(processor: Any, size: Size) -> int:
    """Start, end, and a placeholder for 4 patches of the image processor, which raises for a size it refuses."""
    try:
        return 2 + int(processor.image_processor.get_number_of_image_patches(size[1], size[0], {})) // 4
    except ValueError:
        return -1


def by_squares(processor: Any, size: Size) -> int:
    """GOT-OCR2 has no formula of its own; `<img>` and `</img>` are written by whoever writes the text."""
    count = processor.image_processor.get_number_of_image_patches(size[1], size[0], processor.images_kwargs)
    return 2 + int(processor.num_image_tokens * count)


def by_rows(processor: Any, size: Size) -> int:
    """Columns of the resized image and an end, a row; the formula itself would make an image of every size."""
    unit = processor.patch_size * processor.spatial_merge_size
    columns, rows = shrunk_grid(processor.image_processor.size["longest_edge"], size, multiple=unit, unit=unit)
    return rows * (columns + 1) if min(columns, rows) else -1


def by_blocks(processor: Any, size: Size) -> int:
    """LightOnOCR's formula takes an image of 1 or 3 rows for one with its channels first."""
    settings = processor.image_processor
    columns, rows = shrunk_grid(
        settings.size["longest_edge"],
        size,
        multiple=settings.patch_size["height"],
        unit=processor.effective_patch_size,
    )
    return columns * rows or -1


def shrunk_grid(longest_edge: int, size: Size, *, multiple: int, unit: int) -> Size:
    """(columns, rows) of `unit` pixels of an image that is shrunk to `longest_edge` and rounded to `multiple`."""
    image = np.broadcast_to(np.uint8(0), (3, size[1], size[0]))
    height, width = get_resize_output_image_size(
        image, longest_edge, (multiple, multiple), input_data_format=ChannelDimension.FIRST
    )
    return int(width // unit), int(height // unit)


COUNTS: Mapping[str, Count] = {
    "gemma3": lambda processor, size: by_formula(processor, size) + 4,  # start, end, and newlines on both sides
    "gemma4": lambda processor, size: by_formula(processor, size) + 2,
    "got_ocr2": by_squares,
    "lighton_ocr": by_blocks,
    **dict.fromkeys(("llava", "mistral3"), by_rows),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "paddleocr_vl"), by_patches),
}
