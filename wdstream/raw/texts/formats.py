"""Which format a file of text is in, by its content, and the texts of its pages.

An XML file is known by its root element and namespace, an HTML file by its classes: a suffix says little, since ALTO,
PAGE and METS all are `.xml`, and hOCR is `.hocr`, `.html`, `.htm` or `.xml`.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from wdstream.errors import SourceError
from wdstream.raw.texts.alto import read_alto
from wdstream.raw.texts.hocr import is_hocr, read_hocr
from wdstream.raw.texts.page_text import FoundText
from wdstream.raw.texts.page_xml import read_page_xml
from wdstream.raw.texts.tree import name_of, parse_html, parse_xml
from wdstream.text.characters import short_name

if TYPE_CHECKING:
    from wdstream.raw.texts.tree import Element

MarkupFormat = Literal["page", "alto", "hocr", "html", "mets"]
SNIFFED_BYTES = 1 << 16
"""Of a file that are looked at to know its format."""
_SKIPPED = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!(?!--)[^\[>]*(?:\[.*?\]\s*)?>", re.DOTALL)
_ROOT = re.compile(r"<(?:([\w.-]+):)?([\w.-]+)((?:\s[^>]*)?)/?>")
_NAMESPACE = re.compile(r"""\sxmlns(?::([\w.-]+))?\s*=\s*["']([^"']*)["']""")
_HTML_ROOTS = {"html", "body", "div", "p", "table", "head"}
_ROOTS: Mapping[tuple[str, str], MarkupFormat] = {
    ("alto", "alto"): "alto",
    ("PcGts", "pagecontent"): "page",
    ("mets", "mets"): "mets",
}
"""By the name of the root element, and a word that is in its namespace where it has one."""


def format_of(data: bytes) -> tuple[MarkupFormat | None, str]:
    """The format of an XML or HTML file that begins with these bytes, None for another; and its root, in words."""
    text = _head(data)
    position = 0
    while skipped := _SKIPPED.match(text, position):
        position = skipped.end()
    root = _ROOT.match(text, position)
    if root is None:
        return None, "no root element at its beginning"
    prefix, name, attributes = root.groups()
    namespaces = dict(_NAMESPACE.findall(attributes))
    namespace = namespaces.get(prefix or "", "")
    if name.lower() in _HTML_ROOTS:
        return "hocr" if is_hocr(data) else "html", "HTML"
    where = f" of the namespace {short_name(namespace, most=80)}" if namespace else ""
    for (known, word), markup in _ROOTS.items():
        if name == known and (not namespace or word in namespace.lower()):
            return markup, name
    return None, f"a root element {short_name(name, most=40)}{where}"


def _head(data: bytes) -> str:
    """The beginning of a file as text, for its ASCII characters."""
    head = data[:SNIFFED_BYTES]
    is_wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]
    return (
        head.replace(b"\0", b"")[2 * (head[:1] > b"\x7f") :] if is_wide else head.removeprefix(b"\xef\xbb\xbf")
    ).decode("latin-1")


def read_markup(data: bytes, *, join_hyphens: bool = False) -> list[FoundText]:
    """The texts of all pages of an ALTO, PAGE or hOCR file.

    Raises:
        SourceError: it is of no known format, damaged, or has no pages.
        ConfigError: lxml is not installed.
    """
    markup, root = format_of(data)
    if markup == "hocr":
        pages = read_hocr(_hocr_root(data))
    elif markup == "alto":
        pages = read_alto(parse_xml(data), join_hyphens=join_hyphens)
    elif markup == "page":
        pages = read_page_xml(parse_xml(data))
    else:
        raise SourceError(f"is neither ALTO nor PAGE nor hOCR: it has {root}")
    if not pages:
        raise SourceError(f"holds no page, though its root element is {root}")
    return pages


def _hocr_root(data: bytes) -> "Element":
    """The tree of an hOCR file: as XML, which it mostly is, else as HTML."""
    try:
        root = parse_xml(data)
    except SourceError:
        return parse_html(data)
    return root if name_of(root).islower() else parse_html(data)  # where case does not count
