"""Pages without a text are read from their picture: what a program that does is given, and what it answers.

An engine reads in the process that builds the shard, with one thread, so that the same picture gives the same text
whatever the number of processes. It never uses the network.
"""

from dataclasses import dataclass
from typing import Protocol

from wdstream.raw.texts.page_text import TextLine
from wdstream.records import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureText:
    """What an engine read on a picture.

    Attributes:
        blocks: lines in reading order, with boxes in pixels of the picture that it was given.
        confidences: of its lines or words, each 0 to 1.
        unsure: characters that it was too unsure of, and which are left out.
    """

    blocks: tuple[tuple[TextLine, ...], ...] = ()
    confidences: tuple[float, ...] = ()
    unsure: int = 0


class OcrEngine(Protocol):
    """A program that reads pictures.

    Attributes:
        name: with its version, for the metadata of pages.
        identity: all that decides what it reads: versions, models, languages.
        max_side: pixels of the longer side of a picture; larger ones are made smaller for it.
        least_confidence: of a page that it read well; below it, much is misread.
    """

    name: str
    identity: str
    max_side: int
    least_confidence: float

    def read(self, pixels: Pixels) -> PictureText:
        """Read a picture, uint8 (height, width, 3).

        Raises:
            SourceError: it cannot.
        """
