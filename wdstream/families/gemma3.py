"""Gemma 3: square canvases; the tokens of an image see each other, whichever comes first.

    "\\n\\n" <start_of_image> <image_soft_token> x 256 <end_of_image> "\\n\\n"

The masks are those of families/shared/masks4d.py, one for layers that see the whole document and one for layers with a
sliding window; images see both ways in both. The newlines around an image are tokens of their own: the processor's
tokenizer would melt them with newlines of the text beside them. That processor never splits an image by itself ("pan
and scan" has to be asked for at each call, whatever the settings say), so an image left whole is one canvas too.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wdstream.families.shared.masks4d import MaskedFamily, visible
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.square import SquareTiles
from wdstream.records import Ints

if TYPE_CHECKING:
    import torch


class Gemma3(MaskedFamily, SquareTiles):
    """Gemma 3 (`Gemma3ForConditionalGeneration`)."""

    name: ClassVar[str] = "gemma3"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>"),
    )
    processor_class: ClassVar[str] = "Gemma3Processor"
    image_prompt: ClassVar[str] = "<start_of_image>"
    placeholder: ClassVar[str] = "<image_soft_token>"
    placeholder_key: ClassVar[str] = "image_token_index"
    default_side: ClassVar[int] = 224
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 16,
    }
    melts_newlines: ClassVar[bool] = True
    untiled_settings: ClassVar[Mapping[str, Any]] = {"do_pan_and_scan": False}
    default_resample: ClassVar[int] = 2
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 262208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
    }

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        self.sliding_window = int(folder.text_config.get("sliding_window", 4096))

    def count_placeholders(self, folder: ModelFolder) -> int:
        """`mm_tokens_per_image`, to which the patches are pooled."""
        return int(folder.config.get("mm_tokens_per_image", 256))

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor has to be told how many placeholders an image has."""
        return {"image_seq_length": self.tokens_per_image}

    def image_block(self) -> Ints:
        """Newlines, start, placeholders, end, newlines."""
        newlines = self.encoder.encode("\n\n")
        start, end = self.require_token("<start_of_image>"), self.require_token("<end_of_image>")
        placeholders = [self.image_id] * self.tokens_per_image
        return np.array([*newlines, start, *placeholders, end, *newlines], dtype=np.int64)

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> dict[str, NDArray[Any]]:
        """`token_type_ids` int64 (B, L): 1 for placeholders, from which the model makes masks."""
        return {"token_type_ids": (input_ids == self.image_id).astype(np.int64)}

    def mask_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """`attention_mask`: {"full_attention", "sliding_attention"}, each (B, 1, L, L), made on the device."""
        sliding = visible(batch, device, window=self.sliding_window)
        return self.layer_masks(visible(batch, device), sliding=sliding, dtype=dtype)
