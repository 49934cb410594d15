"""Markdown and HTML of programs that convert documents (olmOCR, marker, MinerU, docling) as labels: kept as they are.

What the picture does not show as text goes: images (`![alt](a.png)`, `<img>`), whose alternative text nobody sees;
comments; the front matter of Markdown; scripts, styles and all outside the body of HTML. Code in Markdown stays whole.
`text_images` counts the images, and what docling leaves a comment for: pictures, and formulas that it could not read.

The text of a document of several pages is told apart by marks between them (docling, Azure: a comment "page break"; a
form feed; a division or rule whose style or class breaks the page) or before each (marker: `{4}` and at least 16
hyphens on a line, pages counted from 0).
"""

import re

from wdstream.errors import SourceError
from wdstream.raw.texts.page_text import FoundText
from wdstream.raw.texts.tree import check_html_ends
from wdstream.text.characters import normalise_text

_BREAKS = r"[^<>]{0,200}page-?break(?!-inside)(?:-(?:before|after)\s*:\s*(?!avoid|auto))?[^<>]{0,200}"
_BREAK = re.compile(
    r"\f|<!--\s*(?:end\s+of\s+page|page[\s_-]?break)\s*-->"
    rf"|<(?:hr|br)\b{_BREAKS}>|<(?:div|p|span)\b{_BREAKS}>(?:\s|&nbsp;)*</(?:div|p|span)>"
    r"|(?=<(?:div|p|h[1-6]|section|article)\b[^<>]{0,200}page-break-before\s*:\s*always)",
    re.IGNORECASE,
)
"""A comment, an element without content that breaks the page, or the place before one that does so."""
_NUMBERED = re.compile(r"^\{(\d{1,7})\}-{16,}[ \t]*$", re.MULTILINE)
_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\r?\n(?:#[^\n]{0,1000}\n)*[A-Za-z_][\w -]{0,60}:[^\n]{0,1000}\n"
    r"(?:[A-Za-z_][\w -]{0,60}:[^\n]{0,1000}\n|[ \t#-][^\n]{0,1000}\n|\r?\n){0,200}?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
    r"|\A\+\+\+[ \t]*\r?\n(?:[^\n]{0,1000}\n){0,200}?\+\+\+[ \t]*(?:\r?\n|\Z)"
)
_CODE = (
    r"^[ \t]{0,3}(?P<fence>`{3,}|~{3,})[\s\S]*?(?:^[ \t]{0,3}(?P=fence)[`~]*[ \t\r]*$|\Z)"
    r"|(?<!`)(?P<ticks>`{1,2})(?!`)[^\n]{0,2000}?(?<!`)(?P=ticks)(?!`)|\\[!`]"
)
_TARGET = r"(?:<[^<>\n]{0,4000}>|data:image/[^()\s]*|[^()\s]{0,4000}(?:\([^()\s]{0,400}\)[^()\s]{0,400})?)"
_SPACED = r"[^()\n]{0,1000}\.(?:png|jpe?g|gif|webp|svg|bmp|tiff?|avif)"
_LINK = rf"\({_TARGET}(?:\s+[\"'(][^\n\"']{{0,1000}}[\"')])?\s*\)"
_ALT = r"(?:[^\[\]]|\[[^\[\]]{0,200}\]){0,2000}"
_PICTURE = rf"!\[{_ALT}\](?:{_LINK}|\({_SPACED}\)|\[[^\[\]\n]{{0,200}}\])|!\[\[[^\[\]\n]{{1,400}}\]\]"
_TAG = r"<img\b(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>"
_LEFT_OUT = r"<!--\s*(?:image|formula-not-decoded|missing-text)\s*-->"
_IMAGES = rf"\[[ \t]*(?:{_PICTURE})[ \t]*\]{_LINK}|{_PICTURE}|{_TAG}|{_LEFT_OUT}"
_HTML_IMAGE = re.compile(rf"(?P<image>{_TAG})|(?P<kept>(?!))", re.IGNORECASE)
_MARKDOWN_IMAGE = re.compile(
    rf"(?P<kept>{_CODE})|(?P<image>{_IMAGES})|<!--(?:(?!<!--)[\s\S]){{0,20000}}?-->", re.IGNORECASE | re.MULTILINE
)
_EMPTY_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_BODY = re.compile(r"<body\b(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>(.*?)(?:</body\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_HEAD = re.compile(r"<!doctype[^>]*>|<head\b.*?(?:</head\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_NOT_SHOWN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|template)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)


def split_pages(text: str) -> list[str]:
    """The texts of the pages of a document, by the marks between or before them; one text where there are none.

    Raises:
        SourceError: numbers of pages are not in order from 0 without a gap.
    """
    marks = [*_NUMBERED.finditer(text)]
    if marks and not text[: marks[0].start()].strip():
        numbers = [int(mark[1]) for mark in marks]
        if numbers != [*range(len(numbers))]:
            raise SourceError("its page marks are not {0}, {1}, ... in order: pages are missing")
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        return [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    pages = _BREAK.split(text)
    return pages[:-1] if len(pages) > 1 and not pages[-1].strip() else pages


def markdown_pages(text: str) -> list[FoundText]:
    """The pages of a Markdown file."""
    return [_page(page, "markdown") for page in split_pages(_FRONT_MATTER.sub("", text, count=1))]


def html_pages(text: str) -> list[FoundText]:
    """The pages of an HTML file that is not hOCR: what is in its body, as it is written.

    Raises:
        SourceError: it is cut off, or numbers of pages are not in order.
    """
    check_html_ends(text)
    shown = _NOT_SHOWN.sub(lambda found: found[0] if _BREAK.fullmatch(found[0]) else "", text)
    body = _BODY.search(shown)
    return [_page(page, "html") for page in split_pages(body[1] if body else _HEAD.sub("", shown))]


def _page(text: str, text_from: str) -> FoundText:
    found = [*(_MARKDOWN_IMAGE if text_from == "markdown" else _HTML_IMAGE).finditer(text)]
    dropped = sum(match["image"] is not None for match in found)
    ends = [0, *(match.end() for match in found)]
    starts = [*(match.start() for match in found), len(text)]
    kept = [match["kept"] or "" for match in found]
    pieces = zip((text[end:start] for end, start in zip(ends, starts, strict=True)), [*kept, ""], strict=True)
    shown = normalise_text("".join(between + code for between, code in pieces))
    if any(match["kept"] is None for match in found):
        shown = _EMPTY_LINES.sub("\n\n", shown).strip("\n")
    return FoundText(text=shown, meta={"text_from": text_from, **({"text_images": dropped} if dropped else {})})
