"""What a program that reads pictures is to make-shards: how it is found, what it is given, and what it answers.

An engine reads in the process that builds the shard, with one thread, so that the same picture gives the same text
whatever the number of processes. It never uses the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from wdstream.errors import ConfigError
from wdstream.raw.settings import RawSettings
from wdstream.raw.texts.page_text import TextLine
from wdstream.records import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
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
    """

    name: str
    identity: str
    max_side: int

    def read(self, pixels: Pixels) -> Reading:
        """Read a picture, uint8 (height, width, 3).

        Raises:
            SourceError: it cannot.
        """


def open_engine(settings: RawSettings) -> OcrEngine:
    """The engine that settings name, opened once in a process.

    Raises:
        ConfigError: it is not installed, or lacks a language; says what to install.
    """
    return _opened(settings.ocr, settings.ocr_language)


@lru_cache
def _opened(name: str, language: str | None) -> OcrEngine:
    engines: dict[str, Callable[[str | None], OcrEngine]] = {"rapidocr": _open_rapidocr, "tesseract": _open_tesseract}
    return engines[name](language)


def _open_rapidocr(language: str | None) -> OcrEngine:
    from wdstream.raw.ocr.rapid import RapidEngine

    if language is not None:
        raise ConfigError(
            f"--ocr-language {language}: rapidocr reads all languages of its models at once (Latin letters, Chinese, "
            "Japanese); leave it out, or use --ocr tesseract"
        )
    return RapidEngine()


def _open_tesseract(language: str | None) -> OcrEngine:
    from wdstream.raw.ocr.tesseract import TesseractEngine

    return TesseractEngine(language or "eng")
