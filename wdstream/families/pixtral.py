"""Pixtral (HF) and Mistral 3: the images of LightOnOCR, with a token at the end of each row of them.

    [IMG] x columns [IMG_BREAK]  ...  [IMG] x columns [IMG_END]

Pixtral goes by `model_type: llava` with a vision tower of type pixtral; other towers of that name are not known here.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.lighton_ocr import LightOnOcr
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.records import Ints


class Pixtral(LightOnOcr):
    """Pixtral (`LlavaForConditionalGeneration` with a Pixtral tower): a token a patch."""

    name: ClassVar[str] = "llava"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        *("<s>", "</s>", "<unk>", "<pad>"),
    )
    processor_class: ClassVar[str] = "PixtralProcessor"
    image_prompt: ClassVar[str] = "[IMG]"
    image_key: ClassVar[str] = "image_token_index"
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 131072,
        "hidden_size": 5120,
        "intermediate_size": 14336,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }

    def __init__(self, folder: ModelFolder) -> None:
        kind = folder.vision_config.get("model_type")
        if kind != "pixtral":
            raise FamilyError(
                f"{folder.path}: family {self.name} is known with a vision tower of type 'pixtral' only; "
                f"config.json has '{kind}'"
            )
        super().__init__(folder)
        self._break_id, self._end_id = self.require_token("[IMG_BREAK]"), self.require_token("[IMG_END]")

    def read_merge(self, config: Mapping[str, Any]) -> int:
        """1: patches are not merged."""
        return 1

    def read_rounding(self, settings: Mapping[str, Any]) -> int:
        """Whole merged patches: the processor tells its image processor so, whatever the settings say."""
        return self.patch_size * self.merge_size

    def image_call_settings(self) -> Mapping[str, Any]:
        """The same, for the image processor by itself."""
        return {"patch_size": self.resize_multiple}

    def count_tokens(self, columns: Ints, rows: Ints) -> Ints:
        """One more for each row."""
        return (columns + 1) * rows

    def image_ids(self, width: int, height: int) -> Ints:
        """Rows of placeholders, each with its end; int64."""
        new_width, new_height = self.resized(width, height)
        columns, rows = new_width // self.size_multiple, new_height // self.size_multiple
        ids = np.full((rows, columns + 1), self.image_id, dtype=np.int64)
        ids[:, -1] = self._break_id
        ids[-1, -1] = self._end_id
        return ids.ravel()


class Mistral3(Pixtral):
    """Mistral Small 3.1 and later (`Mistral3ForConditionalGeneration`): 2 x 2 patches make a token."""

    name: ClassVar[str] = "mistral3"
    text_defaults: ClassVar[Mapping[str, Any]] = {**Pixtral.text_defaults, "intermediate_size": 32768}

    def read_merge(self, config: Mapping[str, Any]) -> int:
        """`spatial_merge_size`."""
        return int(config.get("spatial_merge_size", 2))
