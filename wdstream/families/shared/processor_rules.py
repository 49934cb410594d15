"""How a family's own Hugging Face processor is made and fed: what families/reference needs to know of a family.

Nothing here plays a part in a training run, but for `pixels: reference` and the check of the first step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from wdstream.families.shared.images import Layout
from wdstream.records import ImageSegment, LabelledPage, Segment, TextSegment

Texts = dict[str, list[str]]
"""Texts as keyword arguments of a processor: `text`, for some families `suffix` or `text_pair`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorRules:
    """What is special about a processor; by default nothing is.

    Attributes:
        settings: what its constructor needs besides tokenizer and image processor.
        attributes: what has to be set on it after it is made.
        untiled_settings: settings of the image processor that switch its own splitting of images off.
        call_settings: what it says to its image processor at each call, over the settings of that.
        melts_newlines: whether it writes newlines around an image as text, so that its tokenizer joins them with
            newlines of the text next to them. wdstream keeps them apart: the length of an image must not depend on its
            neighbours.
        least_images: images a text must have for it to leave them uncut as wdstream does.
        ends: whether it puts EOS after a text by itself.
        nests_images: whether the images of one page are a list in a list.
        texts: (page, image_prompt) -> what it reads besides images; None: one string, `image_prompt` for a tile.
        pixels: (`pixel_values` of the image processor, arrays of our layout) -> without padding that the layout leaves
            out; None: as they are.
        comparable: a page as the processor takes it, where it takes segments in one order only; None: any page.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)
    untiled_settings: Mapping[str, object] = field(default_factory=dict)
    call_settings: Mapping[str, object] = field(default_factory=dict)
    melts_newlines: bool = False
    least_images: int = 1
    ends: bool = False
    nests_images: bool = True
    texts: Callable[[LabelledPage, str], Texts] | None = None
    pixels: Callable[[NDArray[Any], Layout], NDArray[Any]] | None = None
    comparable: Callable[[LabelledPage], LabelledPage] | None = None

    def images_of(self, images: Sequence[object]) -> Sequence[object]:
        """The images of one page in the nesting in which the processor reads them."""
        return [list(images)] if self.nests_images else list(images)

    def texts_of(self, page: LabelledPage, image_prompt: str) -> Texts:
        """What the processor reads besides images."""
        if self.texts is not None:
            return self.texts(page, image_prompt)
        return {"text": ["".join(text_of(segment, image_prompt) for segment in page.segments)]}


def text_of(segment: Segment, image_prompt: str) -> str:
    """A segment as a processor reads it: text, `image_prompt` for an image, nothing for what only ids can say."""
    if isinstance(segment, ImageSegment):
        return image_prompt
    return segment.text if isinstance(segment, TextSegment) else ""
