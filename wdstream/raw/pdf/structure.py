"""What PDFium does not tell of a document: units of pages, layers. Read by pikepdf where the bytes hint at them.

A document that keeps its objects in compressed streams (most since PDF 1.5) hides their names, and is opened too.
"""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

_COMPRESSED = b"/ObjStm"
_USER_UNIT = b"/UserUnit"
_LAYERS = b"/OCProperties"
_MAX_USER_UNIT = 75_000.0
"""The largest that viewers take (ISO 32000-1, annex C)."""


class Structure:
    """The parts of a document's structure that PDFium's interface leaves out; opened on first need."""

    def __init__(self, content: bytes | Path) -> None:
        self._content = content
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

    def _may_hold(self, name: bytes) -> bool:
        content = self._content
        return isinstance(content, Path) or name in content or _COMPRESSED in content

    def _opened(self) -> Any:
        if not self._is_open:
            self._is_open = True
            import pikepdf

            content = self._content
            with suppress(Exception):  # PDFium mends more than pikepdf does
                self._document = pikepdf.open(content if isinstance(content, Path) else BytesIO(content))
        return self._document
