"""What every family's `model_inputs` starts from: the text side of a batch, moved to the device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wdstream.records import ImageSegment, Segment, TextSegment

if TYPE_CHECKING:
    import torch

TENSOR_KEYS = ("input_ids", "labels", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's normalisation, which many image processors default to; per channel, for pixels in [0, 1]."""
RESAMPLES = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for resampling filters, as preprocessor_config.json holds them."""


def text_inputs(batch: Mapping[str, Any], device: "torch.device | str") -> dict[str, Any]:
    """ids, labels, positions and the limits of documents as keyword arguments of `model.forward`.

    There is no attention mask and no cache: with either, transformers stops reading packing from the positions
    (masking_utils, `_preprocess_mask_arguments`), and documents see each other without an error. Positions serve eager
    and sdpa attention, `cu_seq_lens` and `max_length` flash attention; together they serve all.
    """
    inputs: dict[str, Any] = {key: batch[key].to(device, non_blocking=True) for key in TENSOR_KEYS}
    # Python ints: flash attention's kernels want no tensor here, and a tensor would force a wait on the device.
    inputs["max_length_q"] = batch["max_length_q"]
    inputs["max_length_k"] = batch["max_length_k"]
    inputs["use_cache"] = False
    return inputs


def text_of(segment: Segment, image: str) -> str:
    """A segment as a processor reads it: text as it is, `image` for an image, nothing for what only ids can say."""
    if isinstance(segment, ImageSegment):
        return image
    return segment.text if isinstance(segment, TextSegment) else ""
