"""The lines of an ALTO, hOCR or PAGE file by the parsers of Python's own library, as a reference for our labels.

    python tools/text_reference.py FILE

Written apart from wdstream, and as simple as can be: lines in the order of the document, words with a space between. It
knows no reading order and no margins; `text_files_truth.py` counts files with the same lines in another order.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

LINES = {"ocr_line", "ocrx_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat", "ocr_pageno"}
WORDS = {"ocrx_word", "ocr_word"}
VOID = {"br", "meta", "link", "img", "hr", "input"}


def alto_lines(root: ElementTree.Element) -> Iterator[str]:
    """A line for each TextLine: its Strings, then its hyphen."""
    for line in root.iter("TextLine"):
        words = [part.get("CONTENT", "") for part in line if part.tag == "String"]
        hyphens = [part for part in line if part.tag == "HYP"]
        text = " ".join(words)
        yield text + "-" if hyphens and text and not text.endswith(("-", "=")) else text


def page_lines(root: ElementTree.Element) -> Iterator[str]:
    """A line for each TextLine: its own text, else those of its words; of a region without any, the region's."""
    for region in root.iter():
        if not region.tag.endswith(("Region", "TableCell")):
            continue
        texts = [page_text(line) for line in region if line.tag == "TextLine"]
        yield from texts if any(texts) else own_text(region).splitlines()


def page_text(line: ElementTree.Element) -> str:
    """The text of a TextLine."""
    words = [own_text(word) or "".join(map(own_text, word.findall("Glyph"))) for word in line.findall("Word")]
    return own_text(line) or " ".join(words)


def own_text(element: ElementTree.Element) -> str:
    """The Unicode of the TextEquiv with the lowest index."""
    found = sorted(element.findall("TextEquiv"), key=lambda text: float(text.get("index", "inf")))
    return (found[0].findtext("Unicode") or found[0].findtext("PlainText") or "") if found else ""


class HocrLines(HTMLParser):
    """Collects the text of each element that is a line, into `lines`."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open: list[str] = []
        self._line_depth: int | None = None
        self._is_alternative = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line, or a word with a space before it."""
        classes = {*(dict(attrs).get("class") or "").split()}
        self._is_alternative |= tag == "del" and "alt" in classes
        if tag not in VOID:
            self._open.append(tag)
        if self._line_depth is None and classes & LINES:
            self._line_depth = len(self._open)
            self.lines.append("")
        elif self._line_depth is not None and classes & WORDS:
            self.lines[-1] += " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Pass over an element without content."""

    def handle_endtag(self, tag: str) -> None:
        """End what is open, and with it perhaps a line."""
        self._is_alternative &= tag != "del"
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        if self._line_depth is not None and len(self._open) < self._line_depth:
            self._line_depth = None

    def handle_data(self, data: str) -> None:
        """Add text to the line that is open."""
        if self._line_depth is not None and not self._is_alternative:
            self.lines[-1] += data


def lines_of_file(path: Path) -> Iterator[str]:
    """The lines of a file, by its root element; raises what the parser raises where it is damaged."""
    data = path.read_bytes()
    if re.search(rb"<html|ocr_page|ocr_line", data):
        parser = HocrLines()
        parser.feed(data.decode("utf-8-sig"))
        yield from parser.lines
        return
    root = ElementTree.fromstring(data)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    yield from page_lines(root) if root.tag == "PcGts" else alto_lines(root)


def shown(line: str) -> str:
    """A line with single spaces, and `-` for what stands for a hyphen at its end."""
    return re.sub("(?<=\\w)[\u00ac\u00ad]$", "-", " ".join(line.split()))


if __name__ == "__main__":
    print("\n".join(shown(line) for line in lines_of_file(Path(sys.argv[1]))))
