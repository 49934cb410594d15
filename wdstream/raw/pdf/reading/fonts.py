"""The fonts of a page's text objects, which PDFium knows by name."""

import ctypes
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import needs_extra
from wdstream.raw.pdf.calls import pdfium_calls
from wdstream.raw.pdf.characters import PageCharacters

_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class PageFonts:
    """Fonts of the m text objects of a page.

    Attributes:
        numbers: (m,) which font each has.
        names: their names in the file, often with a prefix of six letters for a subset; empty for Type 3.
        embedded: whether each is in the file; others are drawn by fonts that PDFium has for them.
    """

    numbers: NDArray[np.int32]
    names: tuple[str, ...]
    embedded: tuple[bool, ...]


def read_fonts(characters: PageCharacters) -> PageFonts:
    """Read the fonts of a page that is still open."""
    addresses = [*map(pdfium_calls().font, characters.objects.handles)]
    number_of = {address: number for number, address in enumerate(dict.fromkeys(addresses))}
    numbers = np.array([number_of[address] for address in addresses], np.int32)
    return PageFonts(numbers, _names(number_of), tuple(map(is_embedded, number_of)))


def has_embedded_font(text_objects: Iterable[int], pattern: re.Pattern[str]) -> bool:
    """Whether a font of text objects, given by their addresses on a page that is still open, is in the file and has
    such a name."""
    addresses = {*map(pdfium_calls().font, text_objects)}
    found = zip(addresses, _names(addresses), strict=True)
    return any(pattern.search(name) and is_embedded(address) for address, name in found)


def is_embedded(font: int) -> bool:
    """Whether a font, given by its address, is in the file."""
    import pypdfium2.raw as pdfium

    return font != 0 and pdfium.FPDFFont_GetIsEmbedded(ctypes.cast(font, pdfium.FPDF_FONT)) == 1


def _names(fonts: Iterable[int]) -> tuple[str, ...]:
    """The names of fonts, given by their addresses."""
    with needs_extra("reading PDFs", "pdf"):
        import pypdfium2.raw as pdfium
    names = []
    name = ctypes.create_string_buffer(_LONGEST_NAME)
    for address in fonts:
        name.value = b""
        if address:
            pdfium.FPDFFont_GetBaseFontName(ctypes.cast(address, pdfium.FPDF_FONT), name, _LONGEST_NAME)
        names.append(name.value.decode("latin-1"))
    return tuple(names)
