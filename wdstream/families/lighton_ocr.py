"""LightOnOCR: the images and the tower of Pixtral, 2 x 2 patches per token, and no token around an image.

<|image_pad|> x (columns * rows of merged patches)
"""

from collections.abc import Mapping
from typing import ClassVar

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.pixtral import PIXTRAL_TOWER
from wdstream.families.shared.images import MarkedBlock
from wdstream.families.shared.model_folder import ModelFolder, first_number, language_shape, text_defaults, tower_shape
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.resized import padded_images
from wdstream.plan.deal import training_flops

_TEXT = text_defaults(vocab_size=151936, width=1024, mlp=3072, layers=28, heads=16, key_heads=8, head_size=128)


class LightOnOcr(Family):
    """The family of LightOnOCR: `LightOnOcrForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|image_pad|>", "<|vision_pad|>", "<|vision_end|>", "<|vision_start|>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    image_prompt: ClassVar[str] = "<|image_pad|>"
    processor_class = "LightOnOcrProcessor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.image_id = self.require_token("<|image_pad|>", folder.config.get("image_token_id"))
        vision = {**PIXTRAL_TOWER, **folder.vision_config}
        self.patch_size = first_number(vision["patch_size"])
        self.merge_size = int(folder.config.get("spatial_merge_size", 2))
        rounding = folder.image_settings.get("patch_size") or 16
        multiple = int(rounding["height"]) if isinstance(rounding, Mapping) else first_number(rounding)
        if multiple % self.patch_size:
            raise FamilyError(
                f"{folder.path}: the image processor rounds to {multiple} pixels, not a multiple of the vision tower's "
                f"patches of {self.patch_size}; take the settings of one model"
            )
        self.images = padded_images(
            folder,
            family=name,
            block=MarkedBlock(image_id=self.image_id),
            patch_size=self.patch_size,
            merge_size=self.merge_size,
            multiple=multiple,
        )
        self.cost = training_flops(**language_shape(folder, _TEXT), **tower_shape(vision))

    def processor_rules(self) -> ProcessorRules:
        """The processor's own idea of patches."""
        return ProcessorRules(settings={"patch_size": self.patch_size, "spatial_merge_size": self.merge_size})
