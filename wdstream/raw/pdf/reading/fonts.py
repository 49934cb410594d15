"""The fonts of a page's text objects, which PDFium knows by name; asked for only where characters have no map."""

import ctypes
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
    """

    numbers: NDArray[np.int32]
    names: tuple[str, ...]


def read_fonts(characters: PageCharacters) -> PageFonts:
    """Read the fonts of a page that is still open."""
    with needs_extra("reading PDFs", "pdf"):
        import pypdfium2.raw as pdfium
    addresses = [*map(pdfium_calls().font, characters.objects.handles)]
    number_of = {address: number for number, address in enumerate(dict.fromkeys(addresses))}
    names = []
    for address in number_of:
        name = ctypes.create_string_buffer(_LONGEST_NAME)
        if address:
            pdfium.FPDFFont_GetBaseFontName(ctypes.cast(address, pdfium.FPDF_FONT), name, _LONGEST_NAME)
        names.append(name.value.decode("latin-1"))
    return PageFonts(np.array([number_of[address] for address in addresses], np.int32), tuple(names))
