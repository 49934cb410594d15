"""The Hugging Face side of the comparisons."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers.image_utils import ChannelDimension
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from wdstream.families.base import Family
from wdstream.families.reference import load_processor
from wdstream.families.registry import load_family
from wdstream.records import Size


def load_both(path: Path) -> tuple[Family, Any]:
    """The family of a checkpoint, and the checkpoint's own processor."""
    family = load_family(path)
    return family, load_processor(family)


def count_placeholders(processor: Any, family: Family, sizes: Sequence[Size]) -> list[int]:
    """Tokens that the processor's own formula gives images of these (width, height), the ids around them included."""
    if family.name == "got_ocr2":  # no formula of its own; `<img>` and `</img>` are written by whoever writes the text
        count, settings = processor.image_processor.get_number_of_image_patches, processor.images_kwargs
        return [2 + processor.num_image_tokens * count(height, width, settings) for width, height in sizes]
    if family.name == "llava_onevision" and not family.is_splitting:  # its formula is for images that are alone
        return [processor.num_image_tokens + 1] * len(sizes)
    if family.name == "lighton_ocr":  # its formula takes an image of 1 or 3 rows for one with its channels first
        return [_lighton_count(processor, size) for size in sizes]
    counts = processor._get_num_multimodal_tokens(image_sizes=[(height, width) for width, height in sizes])
    around = 2 if family.name.startswith("qwen") else 0  # counted by most processors, by Qwen's not
    return [int(count) + around for count in counts.num_image_tokens]


def _lighton_count(processor: Any, size: Size) -> int:
    settings, merged = processor.image_processor, processor.effective_patch_size
    multiple = (settings.patch_size["height"], settings.patch_size["width"])
    image = np.broadcast_to(np.uint8(0), (3, size[1], size[0]))
    height, width = get_resize_output_image_size(
        image, settings.size["longest_edge"], multiple, input_data_format=ChannelDimension.FIRST
    )
    return int(height // merged) * int(width // merged)
