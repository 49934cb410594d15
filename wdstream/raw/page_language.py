"""The language of a page, as a column: what its metadata say, else what its text reads as, else none.

Where the language is asked for (`--language auto`), texts are read by py3langid, whose model knows some 130 languages.
Short texts, and lists of numbers and names, have no language rather than a wrong one; a text of two languages mostly
has one of them. Metadata that name another language than the text reads as are kept, and counted.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from wdstream.errors import needs_extra
from wdstream.raw.texts.language import language_tag, whole_language
from wdstream.records import Page, TextSegment

NO_LANGUAGE, FIND_LANGUAGE = "none", "auto"
_NAMES = ("language", "lang")
"""Metadata that name the language of a page."""
_DECLARED = "language_declared"
"""Metadata with what they said of it, where that is another word than a tag, such as `deu` or `English`."""
_LEAST_LETTERS = 20
_LEAST_SCORE = 0.8
"""Measured on pages of manuals in 20 languages: of texts that have both, none is named wrong."""
_MOST_CHARACTERS = 20_000
_MARKUP = re.compile("<[^<>]{1,40}>")


class PageLanguages:
    """Names the language of pages.

    Args:
        setting: "none", "auto", or the language of all pages whose metadata name none.

    Raises:
        ConfigError: "auto", and py3langid is not installed.
    """

    def __init__(self, setting: str) -> None:
        self._fixed = None if setting in (NO_LANGUAGE, FIND_LANGUAGE) else setting
        self._finder = _open_finder() if setting == FIND_LANGUAGE else None

    def named(self, page: Page) -> tuple[Page, str]:
        """The page with its language, and, where its metadata name another than its text reads as, "de read as en"."""
        if self._fixed is None and self._finder is None:
            return page, ""
        found = self._found(page)
        declared = next((said for name in _NAMES if (said := page.meta.get(name)) not in (None, "", [])), None)
        if declared is None:
            return _with(page, found), ""
        tag = _tag_of(declared)
        if tag is None:
            return _with(page, {**found, _DECLARED: declared}), ""
        differs = "language_score" in found and whole_language(tag) != found["language"]
        own = (
            {"language": tag}
            if page.meta.get(_NAMES[0]) in (None, "", [], tag)
            else {"language": tag, _DECLARED: declared}
        )
        return _with(page, own), f"{tag} read as {found['language']}" if differs else ""

    def _found(self, page: Page) -> dict[str, object]:
        """What is known of a page without its metadata."""
        if self._finder is None:
            return {"language": self._fixed}
        text = " ".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))
        return find_language(text[:_MOST_CHARACTERS], self._finder)


def _tag_of(declared: object) -> str | None:
    """The tag of what metadata say, a text or a list with one; None where that names no language."""
    if isinstance(declared, list) and len(declared) == 1:
        declared = declared[0]
    return language_tag(declared) if isinstance(declared, str) else None


def _with(page: Page, known: Mapping[str, object]) -> Page:
    """The page with what is known of its language, in place of what says nothing."""
    if not known:
        return page
    others = {name: value for name, value in page.meta.items() if name != _NAMES[0] or _DECLARED not in known}
    return replace(page, meta={**others, **known})


def find_language(text: str, finder: Any = None) -> dict[str, object]:
    """`language`, a BCP 47 tag, and `language_score`, 0 to 1, of a text; empty where it cannot be said.

    Raises:
        ConfigError: py3langid is not installed.
    """
    plain = _MARKUP.sub(" ", text)
    if sum(map(str.isalpha, plain)) < _LEAST_LETTERS:
        return {}
    scores: Counter[str] = Counter()
    for name, score in (finder or _open_finder()).rank(plain):
        scores[whole_language(name)] += score  # kinds of Arabic, say, are told apart by more than a page
    found, total = scores.most_common(1)[0]
    tag = language_tag(found)
    return {"language": tag, "language_score": round(min(total, 1.0), 4)} if tag and total >= _LEAST_SCORE else {}


def finder_version() -> str:
    """The library that finds languages, whose model is its own; it is loaded.

    Raises:
        ConfigError: it is not installed.
    """
    _open_finder()
    return f"py3langid {version('py3langid')}"


@lru_cache
def _open_finder() -> Any:
    with needs_extra("--language auto", "language"):
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
