"""What PDFium does not tell of a document: units of pages, layers, masks. Read by pikepdf where the bytes hint at them.

A document that keeps its objects in compressed streams (most since PDF 1.5) hides their names; these streams are
unpacked, and where that is not simple the document is opened.
"""

import re
import zlib
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

_COMPRESSED = b"/ObjStm"
_USER_UNIT = b"/UserUnit"
_LAYERS = b"/OCProperties"
_SOFT_MASKS = (b"/Luminosity", b"/Alpha")
_HINTS = re.compile(rb"/(?:ObjStm|UserUnit|OCProperties|Luminosity|Alpha)")
_MAX_USER_UNIT = 75_000.0
"""The largest that viewers take (ISO 32000-1, annex C)."""


_STREAM = re.compile(rb"/ObjStm\b.{0,400}?>>\s*stream\r?\n", re.DOTALL)
_MAX_UNPACKED, _MAX_STREAMS = 64 << 20, 40
"""In bytes, and above it opening is faster."""
_PLAIN_DEFLATE = b"/FlateDecode"
_OTHER_FILTER = re.compile(rb"/DecodeParms|/Filter\s*\[\s*/\w+\s*/|/Crypt")


def _object_streams(content: bytes) -> list[bytes] | None:
    """The object streams of a document, unpacked; None where one is not plainly deflated, as in encrypted ones."""
    found, left = [], _MAX_UNPACKED
    matches = [*_STREAM.finditer(content)]
    if len(matches) != content.count(_COMPRESSED) or len(matches) > _MAX_STREAMS:
        return None
    for match in matches:
        head = content[content.rfind(b"obj", 0, match.start()) : match.end()]
        if _PLAIN_DEFLATE not in head or _OTHER_FILTER.search(head):
            return None
        try:
            unpacker = zlib.decompressobj()
            found.append(unpacker.decompress(memoryview(content)[match.end() :], left + 1))
        except zlib.error:
            return None
        left -= len(found[-1])
        if left < 0:
            return None
    return found


class Structure:
    """The parts of a document's structure that PDFium's interface leaves out; opened on first need."""

    def __init__(self, content: bytes | Path) -> None:
        self._content = content
        self._held: dict[bytes, bool] = {}
        self._document: Any = None
        self._is_open = False

    def close(self) -> None:
        """Close the document; it may be asked no more."""
        if self._document is not None:
            self._document.close()

    def user_unit(self, number: int) -> float:
        """Size of the unit of page `number`, from 1, in points: 1 unless the page says otherwise (`/UserUnit`)."""
        if not self._may_hold(_USER_UNIT):
            return 1.0
        with suppress(Exception):  # a damaged page, or a value that is not a number: viewers take 1
            unit = float(self._opened().pages[number - 1].obj.get("/UserUnit", 1))
            return unit if 0 < unit <= _MAX_USER_UNIT else 1.0
        return 1.0

    def has_layers(self) -> bool:
        """Whether the document declares optional content, layers that a viewer shows or hides."""
        if not self._may_hold(_LAYERS):
            return False
        with suppress(Exception):  # what pikepdf cannot open may have layers
            return "/OCProperties" in self._opened().Root
        return True

    def has_masks(self) -> bool:
        """Whether something may be drawn through a mask of its own, other than an image."""
        return any(self._may_hold(name) for name in _SOFT_MASKS)

    def _may_hold(self, name: bytes) -> bool:
        if name not in self._held:  # every page asks
            self._held[name] = self._is_found(name)
        return self._held[name]

    def _is_found(self, name: bytes) -> bool:
        if isinstance(self._content, Path) or name in self._named:
            return True
        streams = self._unpacked
        return streams is None or any(name in stream for stream in streams)

    @cached_property
    def _named(self) -> set[bytes]:
        """Which of the names are in its bytes: looked for together, in a third of the time of one by one."""
        return {*_HINTS.findall(self._content)} if isinstance(self._content, bytes) else set()

    @cached_property
    def _unpacked(self) -> list[bytes] | None:
        content = self._content
        return _object_streams(content) if isinstance(content, bytes) and _COMPRESSED in self._named else []

    def _opened(self) -> Any:
        if not self._is_open:
            self._is_open = True
            import pikepdf

            content = self._content
            with suppress(Exception):  # PDFium mends more than pikepdf does
                self._document = pikepdf.open(content if isinstance(content, Path) else BytesIO(content))
        return self._document
