"""How a family's own Hugging Face processor is made and fed: what the reference of the proofs needs to know.

Nothing here plays a part in a training run; families/reference/processor.py asks it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from wdstream.families.shared.inputs import text_of
from wdstream.records import LabelledPage


class ProcessorRules:
    """The part of a family that speaks of its processor."""

    processor_class: ClassVar[str]
    """Name of the processor in transformers: the reference of the tests and of `wdstream doctor`."""
    image_prompt: ClassVar[str]
    """What that processor, and a chat template, has in the text where an image stands."""
    melts_newlines: ClassVar[bool] = False
    """Whether that processor writes newlines around an image as text, so that its tokenizer joins them with newlines of
    the text beside it. wdstream keeps them apart: the length of an image must not depend on what stands beside it."""
    least_images: int = 1
    """Images a text must have for that processor to leave them uncut as wdstream does."""
    processor_ends: ClassVar[bool] = False
    """Whether that processor puts EOS behind a text by itself."""
    untiled_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings of the image processor that switch its own splitting of images off."""

    def processor_settings(self) -> Mapping[str, Any]:
        """What the processor's constructor needs beside tokenizer and image processor."""
        return {}

    def processor_attributes(self) -> Mapping[str, Any]:
        """What has to be set on the processor after it is made."""
        return {}

    def image_call_settings(self) -> Mapping[str, Any]:
        """What the processor tells its image processor at each call, over the settings of that."""
        settings: Mapping[str, Any] = self.processor_attributes().get("images_kwargs", {})
        return settings

    def processor_images(self, images: Sequence[Any]) -> Sequence[Any]:
        """The images of one page in the nesting in which the processor reads them by this family's rules."""
        return [list(images)]

    def processor_texts(self, page: LabelledPage) -> dict[str, list[str]]:
        """What the processor reads beside images: the page's text as one string, `image_prompt` where a tile stands."""
        return {"text": ["".join(text_of(part, self.image_prompt) for part in page.segments)]}

    def processor_pixels(self, found: NDArray[Any], own: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """`pixel_values` of the image processor without padding that `layout` leaves out.

        Args:
            found: as the image processor gives it.
            own: the arrays of `layout` for the same images.
        """
        return found

    def comparable(self, page: LabelledPage) -> LabelledPage:
        """A page that the processor can be given, made of `page` where it takes parts in one order only."""
        return page
