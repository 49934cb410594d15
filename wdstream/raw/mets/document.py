"""A METS file as pages: each with its files, by group, and its place in the document.

Of a METS file, the file section says which files there are, in which group (USE), and the physical structure which of
them show one page. All else, such as chapters, is not looked at. Nothing is fetched, and no file is opened here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdstream.errors import SourceError
from wdstream.raw.texts.tree import children, descendants, name_of, parse_xml
from wdstream.text.characters import short_name

if TYPE_CHECKING:
    from wdstream.raw.texts.tree import Element

_MAX_ORDER = 10**9
_MAX_LABEL = 200
_NAMES = ("recordIdentifier", "identifier")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetsFile:
    """A file of a METS document: its group, and where it is, as it is written; several places are copies of it."""

    group: str
    hrefs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetsPage:
    """A page: its number in the document, what is printed on it as its number (or nothing), and its files."""

    order: int
    label: str
    files: tuple[MetsFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetsDocument:
    """What a METS file says.

    Attributes:
        name: an identifier of the document, else its label; empty where it has none.
        pages: in their order.
        whole: files of several pages, such as a PDF of the document.
    """

    name: str
    pages: tuple[MetsPage, ...]
    whole: tuple[MetsFile, ...]


def read_mets(data: bytes) -> MetsDocument:
    """The pages of a METS file.

    Raises:
        SourceError: it is damaged, or no METS.
        ConfigError: lxml is not installed.
    """
    root = parse_xml(data)
    if name_of(root) != "mets":
        raise SourceError(f"expected METS, found a root element {short_name(str(root.tag), most=60)}")
    files = _files(root)
    pages: list[tuple[Element, tuple[MetsFile, ...]]] = []
    whole: list[MetsFile] = []
    for structure in _physical(root):
        for div, ids, is_page in _divs_with_files(structure):
            named = tuple(files[name] for name in dict.fromkeys(ids) if name in files)
            if is_page and named:
                pages.append((div, named))
            else:
                whole += named
    return MetsDocument(name=_name(root), pages=tuple(_in_order(pages)), whole=tuple(whole))


def _files(root: "Element") -> Mapping[str, MetsFile]:
    """The files by their ID, of which the first counts."""
    found: dict[str, MetsFile] = {}
    groups: dict[Element | None, tuple[list[str], list[str]]] = {}
    for section in children(root, "fileSec"):
        for file in descendants(section, "file"):
            hrefs = tuple(href for place in children(file, "FLocat") if (href := _href(place)))
            parent = file.getparent()
            if parent not in groups:  # asked once for each group
                groups[parent] = _names_of_groups(file)
            found.setdefault(file.get("ID", ""), MetsFile(group=_group(file, *groups[parent]), hrefs=hrefs))
    return found


def _href(place: "Element") -> str:
    """The link of a place; METS files of before 2002 have another namespace for it."""
    return next((str(value).strip() for name, value in place.items() if str(name).rpartition("}")[2] == "href"), "")


def _names_of_groups(file: "Element") -> tuple[list[str], list[str]]:
    """USE and ID of the groups that a file is in, from the nearest."""
    groups = [*file.iterancestors("fileGrp")]
    return [group.get("USE", "") for group in groups], [group.get("ID", "") for group in groups]


def _group(file: "Element", uses: list[str], ids: list[str]) -> str:
    """The use of the nearest group that has one, else of the file itself, else the name of its group."""
    names = [*uses, file.get("USE", ""), *ids]
    return short_name(next((name.strip() for name in names if name.strip()), "no group"), most=_MAX_LABEL)


def _physical(root: "Element") -> list["Element"]:
    """The physical structure; where none is called so, the first that is not called logical."""
    structures = [*children(root, "structMap")]
    types = [structure.get("TYPE", "").lower() for structure in structures]
    physical = [structure for structure, kind in zip(structures, types, strict=True) if "physical" in kind]
    others = [structure for structure, kind in zip(structures, types, strict=True) if "logical" not in kind]
    return physical or others[:1]


def _divs_with_files(structure: "Element") -> Iterator[tuple["Element", list[str], bool]]:
    """The parts of a structure that have files: the part, the IDs of its files, and whether it is a page.

    A page is what is called so, with all that is in it; else what has files and no parts with files.
    """
    divs = [*descendants(structure, "div")]
    own = {div: _own_ids(div) for div in divs}
    above = _above(div for div in divs if own[div])
    inside: set[Element] = set()
    for div in divs:
        is_page = div.get("TYPE", "").lower().rpartition(":")[2] == "page"
        if div.getparent() in inside:
            inside.add(div)
        elif is_page:
            inside.add(div)
            yield div, [name for part in (div, *descendants(div, "div")) for name in own[part]], True
        elif own[div]:
            yield div, own[div], div not in above


def _own_ids(div: "Element") -> list[str]:
    """IDs of the files that a part points to itself, whole or to an area of them."""
    pointers = [place for pointer in children(div, "fptr") for place in (pointer, *descendants(pointer, "area"))]
    return [name for place in pointers if (name := place.get("FILEID"))]


def _above(divs: Iterable["Element"]) -> set["Element"]:
    """All parts that these parts are in."""
    found: set[Element] = set()
    for div in divs:
        for parent in div.iterancestors("div"):
            if parent in found:
                break
            found.add(parent)
    return found


def _in_order(pages: list[tuple["Element", tuple[MetsFile, ...]]]) -> list[MetsPage]:
    """The pages by ORDER, if that numbers them all; else as they are written, which volumes and issues need."""
    orders = [_order(div) for div, _ in pages]
    is_numbered = None not in orders and len(set(orders)) == len(orders)
    found = [
        MetsPage(order=order if is_numbered and order is not None else number, label=_label(div), files=files)
        for number, ((div, files), order) in enumerate(zip(pages, orders, strict=True), start=1)
    ]
    return sorted(found, key=lambda page: page.order)


def _order(div: "Element") -> int | None:
    text = div.get("ORDER", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(_MAX_ORDER)) else None


def _label(div: "Element") -> str:
    return short_name(" ".join(div.get("ORDERLABEL", "").split()), most=_MAX_LABEL)


def _name(root: "Element") -> str:
    """What the document is called: the first of its identifiers."""
    texts = [root.get("OBJID", "")]
    sections = [*children(root, "dmdSec")][:1]
    texts += [found.text or "" for name in _NAMES for section in sections for found in section.iter(f"{{*}}{name}")]
    texts.append(root.get("LABEL", ""))
    return short_name(next((" ".join(text.split()) for text in texts if text.strip()), ""), most=_MAX_LABEL)
