"""XML and HTML of unknown origin as trees: no entity of its own, no network, no DTD, and every limit of the parser.

Elements of the root's namespace have their plain names; those of others do not count. A tree is at most 256 elements
deep and a text or attribute of it 10 MB long, so walking it by recursion is safe.
"""

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wdstream.errors import SourceError, needs_extra
from wdstream.text.characters import short_name

if TYPE_CHECKING:
    from lxml import etree

    Element = etree._Element

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(
    rb"""(?:<\?xml[^>]{0,100}?encoding|charset)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE
)
_WIDE = {b"utf-16", b"utf-16le", b"utf-16be", b"ucs-2", b"unicode"}
_NO_CHARSETS = {"punycode", "idna", "undefined", "unicode-escape", "raw-unicode-escape"}
"""Codecs of Python for names and source code; the first takes minutes for a megabyte."""
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_CLOSED_AT_ONCE = re.compile(r"<(div|span|p|a|em|strong)\b([^<>]*)/>", re.IGNORECASE)
"""Elements of XHTML without content, which parsers of HTML take for the beginning of one."""
_ELEMENTS = (
    "a|abbr|b|base|body|br|caption|center|code|col|colgroup|dd|del|div|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|"
    "head|header|hr|html|i|img|ins|kbd|li|link|main|mark|meta|nav|ol|p|pre|q|s|samp|script|section|small|span|strong|"
    "style|sub|sup|svg|table|tbody|td|template|tfoot|th|thead|title|tr|tt|u|ul|var"
)
_NO_ELEMENT = re.compile(rf"<(?!/?(?:{_ELEMENTS})[\s/>]|!--|!DOCTYPE\b|!\[CDATA\[)", re.IGNORECASE)
_COMMENT = re.compile("<!--")
_ENTITIES = "it declares entities of its own, which are not read; write their text out"
_ENTITY = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);|#)[^\s;&<>\"'=]{1,200};")
_NO_MARKUP = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>", re.DOTALL)
_HEAD_BYTES = 2048
_LIMITS = re.compile(r"Excessive depth|limit exceeded|huge|too long|too big|amplification|Memory", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")


def check_lxml(what: str = "reading ALTO, hOCR and PAGE XML") -> None:
    """Check that lxml is installed, which is needed for `what`.

    Raises:
        ConfigError: it is not, with the command that installs it.
    """
    with needs_extra(what, "xml"):
        import lxml.etree  # noqa: F401


def parse_xml(data: bytes) -> "Element":
    """The root of an XML file.

    Raises:
        SourceError: it is not well-formed, declares entities, or is above a limit of the parser.
        ConfigError: lxml is not installed.
    """
    check_lxml()
    from lxml import etree

    _refuse_entities(data)
    if data.lstrip().startswith(b"<?xml"):  # which only the first byte of a file may begin
        data = data.lstrip()
    parser = etree.XMLParser(
        encoding="utf-8" if _says_wide(data) else None,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise SourceError(f"XML cannot be read: {_reason(error)}") from error
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise SourceError(_ENTITIES)
    if root.getroottree().docinfo.doctype and _uses_entities(data):
        raise SourceError("XML uses entities that it does not declare, such as &nbsp;; write their text out")
    _shorten_names(root)
    return root


def _uses_entities(data: bytes) -> bool:
    """Whether XML uses other entities than its own five. A DTD could declare them, so the parser takes them for nothing
    where they are in an attribute."""
    return _ENTITY.search(_NO_MARKUP.sub(b"", data.replace(b"\0", b""))) is not None  # of UTF-16, too


def _says_wide(data: bytes) -> bool:
    """Whether a file says in ASCII that it is UTF-16, as .NET programs write what they then store as UTF-8."""
    declared = _DECLARED.match(data)
    return declared is not None and declared[1].lower() in _WIDE


def _reason(error: Exception) -> str:
    """What the parser says, without its name for a file that it was given as bytes."""
    return short_name(" ".join(str(error).partition(" (<string>")[0].split()))


def _shorten_names(root: "Element") -> None:
    """Take the root's namespace off the names of its elements."""
    namespace, brace, _ = str(root.tag).rpartition("}")
    prefix = namespace + brace
    for element in root.iter(f"{prefix}*") if prefix else ():
        element.tag = str(element.tag)[len(prefix) :]


def parse_html(data: bytes) -> "Element":
    """The root of an HTML file, which does not have to be well-formed.

    Raises:
        SourceError: its encoding is not what it says, it ends in the middle, or is above a limit of the parser.
        ConfigError: lxml is not installed.
    """
    check_lxml()
    from lxml import etree

    _refuse_entities(data)
    text = _XML_DECLARATION.sub("", decode_text(data)).replace("\0", "")
    check_html_ends(text)
    text = _escaped(text)
    text = _CLOSED_AT_ONCE.sub(r"<\1\2></\1>", text)
    parser = etree.HTMLParser(no_network=True, huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(text, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(f"HTML cannot be read: {_reason(error)}") from error
    for entry in parser.error_log:
        if _LIMITS.search(entry.message):
            raise SourceError(f"HTML cannot be read: {short_name(entry.message)}")
    if root is None:
        raise SourceError("HTML holds no element")
    return root


def check_html_ends(text: str) -> None:
    """Refuse HTML that begins with `<html>` and is cut off.

    Raises:
        SourceError: it has no `</html>`.
    """
    if re.search(r"<html[\s>]", text, re.IGNORECASE) and not re.search(r"</html\s*>", text, re.IGNORECASE):
        raise SourceError("HTML ends before its </html>: the file is cut off")


def _escaped(text: str) -> str:
    """HTML with `<` written out where it begins no element: OCR programs leave it in texts, and parsers would drop all
    up to the next `>`."""
    text = _NO_ELEMENT.sub("&lt;", text)
    last = text.rfind("-->")
    return _COMMENT.sub(lambda begin: begin[0] if begin.start() < last else "&lt;!--", text)


def _refuse_entities(data: bytes) -> None:
    if b"<!ENTITY" in data.replace(b"\0", b""):  # of UTF-16, too
        raise SourceError(_ENTITIES)


def decode_text(data: bytes) -> str:
    """A text file in the encoding of its byte order mark, else of its declaration as XML or HTML, else UTF-8.

    Raises:
        SourceError: it is in another one.
    """
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    if encoding is None:
        declared = _DECLARED.search(data[:_HEAD_BYTES])
        encoding = declared[1].decode("ascii") if declared and declared[1].lower() not in _WIDE else "utf-8"
    try:
        codec = codecs.lookup(encoding)
        if codec._is_text_encoding and codec.name not in _NO_CHARSETS:
            return data.decode(encoding)
        raise LookupError("not an encoding of files")
    except (UnicodeError, LookupError) as error:
        raise SourceError(f"text is not {encoding[:40]}, as it should be: {short_name(str(error))}") from error


def name_of(element: "Element") -> str:
    """The name of an element; empty for one of another namespace than the root's."""
    name = str(element.tag)
    return "" if "}" in name else name


def children(element: "Element", *names: str) -> Iterator["Element"]:
    """The children with one of these names, in order; all of the root's namespace when none is given."""
    return element.iterchildren(*names) if names else (child for child in element if name_of(child))


def descendants(element: "Element", *names: str) -> Iterator["Element"]:
    """As `children`, of all below an element, in document order."""
    return element.iterdescendants(*names)


def number(text: str | None) -> float | None:
    """A number of an attribute; None where it is none, or not finite."""
    found = NUMBER.fullmatch(text.strip()) if text else None
    value = float(found[0]) if found else float("nan")
    return value if abs(value) < 1e12 else None


def share(text: str | None, whole: float = 1.0) -> float | None:
    """A confidence as a share from 0 to 1; `whole` is the attribute's 100 %. None where it is none."""
    value = number(text)
    return value / whole if value is not None and 0 <= value <= whole else None
