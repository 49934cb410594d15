"""Gemma 3: square images; the tokens of an image see each other, whichever comes first.

    "\\n\\n" <start_of_image> <image_soft_token> x 256 <end_of_image> "\\n\\n"

The masks are `ImageMasks`, one for layers that see the whole document and one for layers with a sliding window; images
see both ways in both. The newlines around an image are tokens of their own: the processor's tokenizer would melt them
with newlines of the text next to them. That processor never splits an image by itself ("pan and scan" has to be asked
for at each call, whatever the settings say), so an image left whole is one square too.
"""

from typing import ClassVar

from wdstream.families.base import Family
from wdstream.families.shared.attention import MASKED_ATTENTION, MASKED_REASON, ImageMasks
from wdstream.families.shared.images import HALF, MarkedBlock, ProcessorSettings
from wdstream.families.shared.model_folder import (
    ModelFolder,
    language_shape,
    text_defaults,
    tower_defaults,
    tower_shape,
)
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.squares import Squares, SquareTower, square_side
from wdstream.plan.deal import training_flops

_VISION = tower_defaults(width=768, mlp=3072, layers=12, image_size=224, patch_size=16)
_TEXT = text_defaults(vocab_size=262208, width=2304, mlp=9216, layers=26, heads=8, key_heads=4, head_size=256)
"""What config.json may leave to the defaults of the transformers classes."""


class Gemma3(Family):
    """The family of Gemma 3: `Gemma3ForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>"),
    )
    image_prompt: ClassVar[str] = "<start_of_image>"
    image_types: ClassVar[str | None] = "token_type_ids"
    processor_class = "Gemma3Processor"
    attention = MASKED_ATTENTION
    attention_reason = MASKED_REASON

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.image_id = self.require_token("<image_soft_token>", folder.config.get("image_token_index"))
        start, end = self.require_token("<start_of_image>"), self.require_token("<end_of_image>")
        newlines = self.encoder.encode("\n\n")
        block = MarkedBlock(before=(*newlines, start), image_id=self.image_id, after=(end, *newlines))
        self.tokens_per_image = int(folder.config.get("mm_tokens_per_image", 256))  # the patches are pooled to these
        tower = SquareTower.read(folder, _VISION, side=square_side(folder.image_settings, 224))
        pixels = ProcessorSettings.read(folder, mean=HALF, std=HALF, pillow_filter=2)
        self.images = Squares(tower, block.ids(self.tokens_per_image), pixels)
        self.masks = ImageMasks(image_id=self.image_id, window=int(folder.text_config.get("sliding_window", 4096)))
        self.cost = training_flops(**language_shape(folder, _TEXT), **tower_shape(tower.vision))

    def processor_rules(self) -> ProcessorRules:
        """The processor needs the number of placeholders of an image."""
        return ProcessorRules(
            settings={"image_seq_length": self.tokens_per_image},
            untiled_settings={"do_pan_and_scan": False},
            melts_newlines=True,
        )
