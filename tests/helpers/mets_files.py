"""Small METS files, as libraries and OCR-D workspaces have them."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

Page = tuple[Mapping[str, str], Mapping[str, str]]
"""Attributes of a page's part of the structure, and its files: where they are by the use of their group."""


def mets(pages: Sequence[Page], *, objid: str = "", whole: Mapping[str, str] | None = None, mods: str = "") -> bytes:
    """A METS file of these pages; `whole` are files of the document itself."""
    groups: dict[str, list[str]] = {}
    divs = [
        _div(groups, str(number), {"TYPE": "page", **attributes}, files)
        for number, (attributes, files) in enumerate(pages)
    ]
    top = _pointers(groups, "whole", whole or {})
    section = "".join(f"<m:fileGrp USE={quoteattr(use)}>{''.join(files)}</m:fileGrp>" for use, files in groups.items())
    described = f'<m:dmdSec ID="d"><o:identifier>{escape(mods)}</o:identifier></m:dmdSec>' if mods else ""
    return (
        '<?xml version="1.0"?><m:mets xmlns:m="http://www.loc.gov/METS/" xmlns:x="http://www.w3.org/1999/xlink" '
        f'xmlns:o="http://www.loc.gov/mods/v3" OBJID={quoteattr(objid)}>{described}'
        f'<m:fileSec>{section}</m:fileSec><m:structMap TYPE="LOGICAL"><m:div TYPE="monograph"/></m:structMap>'
        f'<m:structMap TYPE="PHYSICAL"><m:div TYPE="physSequence">{top}{"".join(divs)}</m:div></m:structMap></m:mets>'
    ).encode()


def _div(groups: dict[str, list[str]], name: str, attributes: Mapping[str, str], files: Mapping[str, str]) -> str:
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<m:div{written}>{_pointers(groups, name, files)}</m:div>"


def _pointers(groups: dict[str, list[str]], name: str, files: Mapping[str, str]) -> str:
    for use, href in files.items():
        place = f'<m:FLocat LOCTYPE="URL" x:href={quoteattr(href)}/>'
        groups.setdefault(use, []).append(f'<m:file ID="F{name}_{use}">{place}</m:file>')
    return "".join(f'<m:fptr FILEID="F{name}_{use}"/>' for use in files)
