"""The text of a stored picture, read by the engine that settings name."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from wdstream.errors import ConfigError, SourceError
from wdstream.pixels.decode import decode_image
from wdstream.raw.ocr import OcrEngine, PictureText
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredImage
from wdstream.raw.texts.page_text import FoundText
from wdstream.records import Pixels, Size
from wdstream.text.script import script_of


def text_in_picture(image: StoredImage, settings: RawSettings) -> FoundText:
    """What the picture of a page says, as it is stored.

    Raises:
        SourceError: the engine fails, or is too unsure of what it read.
        ConfigError: the engine is not installed.
    """
    engine = open_ocr(settings)
    pixels = _shrunk(decode_image(image.data, max_pixels=settings.max_pixels), engine.max_side)
    found = found_text(engine, engine.read(pixels), (pixels.shape[1], pixels.shape[0]))
    least = engine.least_confidence if settings.min_ocr_confidence is None else settings.min_ocr_confidence
    confidence = found.meta.get("text_confidence")
    if isinstance(confidence, float) and confidence < least:
        raise SourceError(
            f"the picture is not read well: {engine.name} says {confidence:.2f} (at least {least:g} expected, "
            "--min-ocr-confidence); put a text file next to it"
        )
    return found


def found_text(engine: OcrEngine, reading: PictureText, extent: Size) -> FoundText:
    """A reading as the text of its page; `extent` is (width, height) of the picture that was read."""
    found = FoundText.of_blocks(
        reading.blocks, text_from=f"ocr:{engine.name}", extent=extent, confidences=reading.confidences
    )
    meta = {**found.meta, "ocr_lines": len(found.boxes), "script": script_of(found.text)}
    if reading.unsure:
        meta["text_dropped"] = {"unsure": reading.unsure}
    return FoundText(text=found.text, meta=meta, boxes=found.boxes, extent=extent)


def _shrunk(pixels: Pixels, max_side: int) -> Pixels:
    """The picture, made smaller where its longer side is above `max_side`."""
    height, width = pixels.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return np.ascontiguousarray(pixels)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BOX)
    shrunk: Pixels = np.asarray(image)
    return shrunk


def open_ocr(settings: RawSettings) -> OcrEngine:
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
