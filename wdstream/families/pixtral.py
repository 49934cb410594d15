"""Pixtral (HF) and Mistral 3: an image keeps its shape, with a token at the end of each row of patches.

    [IMG] x columns [IMG_BREAK]  ...  [IMG] x columns [IMG_END]

`pixel_values` holds the images of a batch padded at the right and bottom to the largest; `image_sizes` says how much of
each is image. The tower never reads the padding. In Pixtral a token stands for one patch, in Mistral 3 for 2 x 2.

Pixtral goes by `model_type: llava` with a vision tower of type pixtral; other towers of that name are not known here.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.model_folder import (
    ModelFolder,
    first_number,
    language_shape,
    text_defaults,
    tower_defaults,
    tower_shape,
)
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.resized import padded_images
from wdstream.plan.deal import training_flops
from wdstream.records import Ints

PIXTRAL_TOWER = tower_defaults(width=1024, mlp=4096, layers=24, image_size=1540, patch_size=14)
_TEXT = text_defaults(vocab_size=131072, width=5120, mlp=14336, layers=40, heads=32, key_heads=8, head_size=128)
"""What config.json may leave to the defaults of the transformers classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """A placeholder for each merged patch, and a mark at the end of each row; the last row has another one."""

    image_id: int
    break_id: int
    end_id: int

    def count(self, columns: Ints, rows: Ints) -> Ints:
        """One more for each row."""
        return (columns + 1) * rows

    def ids(self, columns: int, rows: int) -> Ints:
        """Rows of placeholders, each with its end; int64."""
        ids = np.full((rows, columns + 1), self.image_id, dtype=np.int64)
        ids[:, -1] = self.break_id
        ids[-1, -1] = self.end_id
        return ids.ravel()


class Pixtral(Family):
    """Pixtral (`LlavaForConditionalGeneration` with a Pixtral tower) and `Mistral3ForConditionalGeneration`."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        *("<s>", "</s>", "<unk>", "<pad>"),
    )
    image_prompt: ClassVar[str] = "[IMG]"
    processor_class = "PixtralProcessor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        kind = folder.vision_config.get("model_type")
        if kind != "pixtral":
            raise FamilyError(
                f"{folder.path}: family {name} is known with a vision tower of type 'pixtral' only; "
                f"config.json has '{kind}'"
            )
        super().__init__(folder, name)
        self.image_id = self.require_token("[IMG]", folder.config.get("image_token_index"))
        block = RowBlock(
            image_id=self.image_id,
            break_id=self.require_token("[IMG_BREAK]"),
            end_id=self.require_token("[IMG_END]"),
        )
        is_merging = name == "mistral3"
        vision = {**PIXTRAL_TOWER, **folder.vision_config}
        self.patch_size = first_number(vision["patch_size"])
        self.merge_size = int(folder.config.get("spatial_merge_size", 2)) if is_merging else 1
        # The processor rounds up to whole merged patches, whatever the settings of its image processor say.
        self.images = padded_images(
            folder,
            family=name,
            block=block,
            patch_size=self.patch_size,
            merge_size=self.merge_size,
            multiple=self.patch_size * self.merge_size,
        )
        text = {**_TEXT, "intermediate_size": 32768} if is_merging else _TEXT
        self.cost = training_flops(**language_shape(folder, text), **tower_shape(vision))

    def processor_rules(self) -> ProcessorRules:
        """The processor's own idea of patches, and what it says of them to its image processor."""
        return ProcessorRules(
            settings={"patch_size": self.patch_size, "spatial_merge_size": self.merge_size},
            call_settings={"patch_size": self.images.size_multiple},
        )
