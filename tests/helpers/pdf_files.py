"""Small PDFs written by hand: one page, its content and the objects that it names."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

FONTS = {
    "F": "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    "C": "<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>",
}
LINE = "BT /F {size} Tf {x} {y} Td ({text}) Tj ET\n"


def line(text: str, x: float = 40, y: float = 150, size: float = 14) -> str:
    """The operators that write one line of Helvetica."""
    return LINE.format(text=text, x=x, y=y, size=size)


def stream(content: str | bytes, entries: str = "") -> bytes:
    """A stream object with these dictionary entries."""
    data = content.encode("latin-1") if isinstance(content, str) else content
    return f"<<{entries}/Length {len(data)}>>stream\n".encode() + data + b"\nendstream"


def image(rows: Sequence[bytes], width: int, entries: str = "/ColorSpace/DeviceGray/BitsPerComponent 8") -> bytes:
    """An image XObject of these rows of samples."""
    size = f"/Type/XObject/Subtype/Image/Width {width}/Height {len(rows)}/Filter/FlateDecode"
    return stream(zlib.compress(b"".join(rows)), size + entries)


def form(content: str, entries: str = "", box: str = "0 0 300 200") -> bytes:
    """A form XObject with both fonts."""
    return stream(content, f"/Type/XObject/Subtype/Form/BBox[{box}]/Resources<</Font<<{_named(FONTS)}>>>>{entries}")


def pattern(content: str, box: str = "0 0 300 200", step: str = "/XStep 300/YStep 200") -> bytes:
    """A tiling pattern with colours of its own."""
    return stream(content, f"/PatternType 1/PaintType 1/TilingType 1/BBox[{box}]{step}/Resources<<>>")


def unicode_map(codes: Mapping[int, str]) -> bytes:
    """A /ToUnicode stream of a simple font: for codes of one byte, UTF-16 in hexadecimal digits."""
    pairs = "".join(f"<{code:02x}><{units}>\n" for code, units in codes.items())
    return stream(f"1 begincodespacerange<00><ff>endcodespacerange {len(codes)} beginbfchar\n{pairs}endbfchar")


def write_pdf(
    path: Path,
    content: str = "",
    *,
    page: str = "/MediaBox[0 0 300 200]",
    resources: str = "",
    catalog: str = "",
    objects: Mapping[int, str | bytes] | None = None,
) -> Path:
    """Write a PDF of one page; PDFium mends the missing cross-reference table.

    Args:
        path: where to.
        content: operators of the page; fonts are /F (Helvetica) and /C (Courier).
        page: entries of the page's dictionary.
        resources: further entries of its resources.
        catalog: further entries of the catalog.
        objects: further objects by number, from 10.
    """
    found: dict[int, str | bytes] = {
        1: f"<</Type/Catalog/Pages 2 0 R{catalog}>>",
        2: "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        3: f"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<<{_named(FONTS)}>>{resources}>>{page}>>",
        4: stream(content),
        **(objects or {}),
    }
    written = (value.encode("latin-1") if isinstance(value, str) else value for value in found.values())
    body = b"".join(b"%d 0 obj" % number + value + b" endobj\n" for number, value in zip(found, written, strict=True))
    path.write_bytes(b"%PDF-1.7\n" + body + b"trailer<</Root 1 0 R>>\n%%EOF")
    return path


def _named(fonts: Mapping[str, str]) -> str:
    return "".join(f"/{name} {font}" for name, font in fonts.items())
