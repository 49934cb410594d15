"""Names of text files: which raw file one may belong to, which format its name says, and which comes first.

    0001.gt.txt                        ground truth of tesstrain and Calamari; also of 0001.bin.png and 0001.nrm.png
    0001.txt
    0001.page.xml, 0001_page.xml       PAGE
    0001.alto.xml, 0001_alto.xml       ALTO
    0001.xml                           PAGE, ALTO or hOCR: its content says which
    0001.hocr, 0001.html, 0001.htm     hOCR, or other HTML
    0001.markdown, and with .md        Markdown

Each may have the raw file's whole name before it (`0001.tif.xml`), and the number of a page (`book.3.xml` of book.pdf).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

TextForm = Literal["gt.txt", "txt", "page", "alto", "hocr", "md", "html"]
FORMS: tuple[TextForm, ...] = get_args(TextForm)
"""Formats in the order in which they are preferred: what people corrected before what programs wrote, plain before
marked up."""
UNKNOWN = "xml"
"""The form of a file whose content must say what it is."""
_ENDINGS: tuple[tuple[str, str], ...] = (
    (".gt.txt", "gt.txt"),
    (".txt", "txt"),
    *((f"{mark}page.xml", "page") for mark in "._"),
    *((f"{mark}alto.xml", "alto") for mark in "._"),
    *((f".hocr.{markup}", "hocr") for markup in ("html", "xml")),
    *((f".{ending}", UNKNOWN) for ending in ("xml", "hocr", "html", "htm", "xhtml")),
    *((f".{ending}", "md") for ending in ("md", "markdown")),
)
_ALL_ENDINGS = tuple(ending for ending, _form in _ENDINGS)
_NUMBERED = re.compile(r"(?P<name>.+)\.0*(?P<page>[1-9][0-9]{0,6})", re.DOTALL)
_RENDERING = re.compile(r"(?P<name>.+)\.(?:bin|nrm|dew|raw)", re.DOTALL)
_NAMED = (".xml", ".hocr", ".gt.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextName:
    """One reading of a text file's name: whose it is, of which page (None for all), and in which form."""

    owner: str
    page: int | None
    form: str


def readings(name: str) -> Iterator[TextName]:
    """How the name of a file may be read as that of a text; nothing for files that are none.

    `a.gt.txt` is the ground truth of `a`, or the text of `a.gt`.
    """
    lower = name.lower()
    for ending, form in _ENDINGS:
        if lower.endswith(ending) and len(name) > len(ending):
            owner = name[: -len(ending)]
            yield TextName(owner=owner, page=None, form=form)
            numbered = _NUMBERED.fullmatch(owner)
            if numbered:
                yield TextName(owner=numbered["name"], page=int(numbered["page"]), form=form)


def may_be_text(name: str) -> bool:
    """Whether `readings` gives anything for a name."""
    lower = name.lower()
    if not lower.endswith(_ALL_ENDINGS):
        return False
    return (name.isascii() and lower not in _ALL_ENDINGS) or any(True for _ in readings(name))


def is_plain(name: str) -> bool:
    """Whether all readings of a name are of form txt, as of most texts."""
    lower = name.lower()
    return lower.endswith(".txt") and not lower.endswith(".gt.txt")


def plain_reading(name: str) -> TextName:
    """The name of a text that is said to be one: of all pages, and where it does not say its form, of any."""
    return next(readings(name), TextName(owner=name, page=None, form=UNKNOWN))


def owners(name: str, bare: str) -> tuple[str, ...]:
    """The names by which text files call a raw file, best first.

    Args:
        name: of the raw file.
        bare: the same without its suffix.
    """
    rendering = _RENDERING.fullmatch(bare)
    return (name, bare, rendering["name"]) if rendering else (name, bare)


def says_text(name: str) -> bool:
    """Whether a file of this name is most likely somebody's text, so that it is named when it belongs to no page."""
    return name.lower().endswith(_NAMED)
