"""The engines by name: which one settings ask for, and what is missing for it."""

from collections.abc import Callable
from functools import lru_cache

from wdstream.errors import ConfigError
from wdstream.raw.ocr.protocol import OcrEngine
from wdstream.raw.settings import RawSettings


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
