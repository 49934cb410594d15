"""SmolVLM and SmolVLM2: the blocks and the tower of Idefics3, larger canvases, more patches a feature."""

from typing import ClassVar

from wdstream.families.idefics3 import Idefics3


class SmolVLM(Idefics3):
    """SmolVLM (`SmolVLMForConditionalGeneration`).

    Its reference is Idefics3's processor: SmolVLM's own makes the same ids of images, but asks for a package that only
    spells out the number of frames of a video.
    """

    name: ClassVar[str] = "smolvlm"
