"""The texts of a document's pages that its sample gives: in a json with `pages`, or in a txt.

{"pages": ["text", ...]}                                       a text for each page
{"pages": [["line", ...], ...]}                                lines, also as {"text": ..., "bbox": ...}
{"pages": [{"text": "..."}, ...]}                              the same
{"pages": [{"text": ["line", ...], "score": [...]}, ...]}      lines (IDL)
{"pages": [{"lines": {"text": ["line", ...]}}, ...]}           lines (PDFA), also as a list of {"text": ...}
{"pages": [{"words": {"text": [...], "line_pos": [...]}}]}     words, by line and place in it (PDFA)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeGuard

from wdstream.errors import SourceError
from wdstream.raw.texts.page_text import TEXT_FILE, FoundText, TextLine
from wdstream.raw.texts.sidecar import PAGE_BREAK
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.text.characters import normalise_text
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.maps.field_paths import value_at
from wdstream.text.not_text import other_than_text
from wdstream.text.row_fields import unambiguous

PAGES = "pages"


@dataclass(frozen=True, slots=True)
class SampleTexts:
    """Texts of the pages of a document; None for one that has to have its own."""

    texts: Sequence[FoundText] | None

    def text(self, page: int) -> FoundText | None:
        """The text of page `page`, from 1."""
        return None if self.texts is None else self.texts[page - 1]


def read_json(data: bytes) -> dict[str, object]:
    """The object in the json of a sample; nothing of one that holds none.

    Raises:
        SourceError: it cannot be read.
    """
    if not data:
        return {}
    try:
        tree: object = json.loads(data, object_pairs_hook=unambiguous)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"its {JSON_EXTENSION} cannot be read: {error!s:.200}") from error
    return tree if isinstance(tree, dict) else {}


def texts_from_json(data: bytes) -> list[FoundText] | None:
    """The texts of all pages; None of a json without `pages`.

    Raises:
        SourceError: it cannot be read, or a page of it has no text of a form that is known.
    """
    pages = read_json(data).get(PAGES)
    if not isinstance(pages, list):
        return None
    return [_page(page, number) for number, page in enumerate(pages, start=1)]


def texts_by_map(members: Mapping[str, bytes], field_map: FieldMap) -> list[FoundText] | None:
    """The texts of all pages by what a map says is the text; None of a map that says nothing of it.

    Raises:
        SourceError: it is not in the sample, or is neither a text nor a list of pages.
        RowError: what the map names cannot be read.
    """
    wanted = field_map.roles.get("text", ())
    for path in (path for one in wanted for path in one.paths):
        for place in path.places(members, JSON_EXTENSION):
            value = value_at(members, place)
            if isinstance(value, list):
                return [_page(page, number) for number, page in enumerate(value, start=1)]
            if isinstance(value, bytes | str):
                return texts_from_txt(value if isinstance(value, bytes) else value.encode("utf-8", "replace"))
    if any(not one.is_optional for one in wanted):
        raise SourceError(f"no {wanted[0]} in it, which has the texts of its pages by the map")
    return None


def texts_from_txt(data: bytes) -> list[FoundText]:
    """The texts of all pages of a txt, with form feeds between them.

    Raises:
        SourceError: it is not UTF-8.
    """
    if (what := other_than_text(data)) is not None:
        raise SourceError(f"its {TEXT_EXTENSION} {what}")
    try:
        texts = data.decode("utf-8-sig").split(PAGE_BREAK)
    except UnicodeDecodeError as error:
        raise SourceError(f"its {TEXT_EXTENSION} is not UTF-8 (byte {error.start})") from error
    if len(texts) > 1 and not texts[-1].strip():
        texts.pop()
    return [_plain(text, TEXT_FILE) for text in texts]


def _page(page: object, number: int) -> FoundText:
    if isinstance(page, str):
        return _plain(page, JSON_EXTENSION)
    if isinstance(page, list) and _are_texts(_texts_of_list(page)):
        page = {"lines": page}
    if not isinstance(page, Mapping):
        raise SourceError(
            f"page {number} of its json is {type(page).__name__}; a text, or an object with one, expected"
        )
    text = page.get("text")
    if isinstance(text, str):
        return _plain(text, JSON_EXTENSION)
    lines = _lines(page)
    if lines is None:
        found = ", ".join(sorted(map(str, page))) or "nothing"
        raise SourceError(f"page {number} of its json has no text, lines or words that are read: it has {found:.200}")
    scores = page.get("score", _inside(page, "lines", "score"))
    return FoundText.of_blocks(
        [[TextLine(text=line) for line in lines]], text_from=JSON_EXTENSION, confidences=_confidences(scores)
    )


def _plain(text: str, text_from: str) -> FoundText:
    return FoundText(text=normalise_text(text), meta={"text_from": text_from})


def _lines(page: Mapping[str, object]) -> list[str] | None:
    """The lines of a page, wherever they are."""
    lines = page.get("lines")
    for texts in (page.get("text"), _inside(page, "lines", "text"), _texts_of_list(lines)):
        if _are_texts(texts):
            return list(texts)
    words = _inside(page, "words", "text")
    return _joined_words(words, page) if _are_texts(words) else None


def _joined_words(words: Sequence[str], page: Mapping[str, object]) -> list[str]:
    """Lines of words, by the line that each word says, or by the words that each line says."""
    places = _inside(page, "words", "line_pos")
    slices = _inside(page, "lines", "word_slice")
    if _are_pairs(places) and len(places) == len(words):
        ordered = sorted(zip(places, words, strict=True), key=lambda placed: tuple(placed[0]))
        by_line = groupby(ordered, key=lambda placed: placed[0][0])
        return [" ".join(word for _place, word in line) for _number, line in by_line]
    if _are_pairs(slices) and _cover(slices, len(words)):
        return [" ".join(words[start:end]) for start, end in slices]
    return [" ".join(words)]


def _cover(slices: Sequence[Sequence[int]], count: int) -> bool:
    """Whether slices, one after the other, have each of `count` words once."""
    starts, ends = [start for start, _end in slices], [end for _start, end in slices]
    return starts == [0, *ends[:-1]] and ends == sorted(ends) and ends[-1:] == [count]


def _inside(page: Mapping[str, object], field: str, name: str) -> object:
    value = page.get(field)
    return value.get(name) if isinstance(value, Mapping) else None


def _texts_of_list(lines: object) -> object:
    """The texts of a list of texts, or of objects with one."""
    if not isinstance(lines, list):
        return None
    return [line.get("text") if isinstance(line, Mapping) else line for line in lines]


def _are_texts(texts: object) -> TypeGuard[Sequence[str]]:
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def _are_pairs(pairs: object) -> TypeGuard[Sequence[Sequence[int]]]:
    return isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(number, int) for number in pair) for pair in pairs
    )


def _confidences(scores: object) -> list[float]:
    """Scores from 0 to 1; none where they have another scale."""
    if not isinstance(scores, list) or not all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores):
        return []
    return [float(score) for score in scores]
