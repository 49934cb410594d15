"""Languages as sources of text write them, and as metadata have them: BCP 47 tags."""

import re
from functools import lru_cache

_SEPARATOR = re.compile(r"[+,; ]")
_OTHER_NAMES = {
    "chi_sim": "zh-Hans",
    "chi_tra": "zh-Hant",
    "frk": "de-Latf",  # of tesseract
    "english": "en",
    "german": "de",
    "french": "fr",
    "italian": "it",
    "spanish": "es",
    "latin": "la",
    "dutch": "nl",
    "polish": "pl",
    "czech": "cs",
    "russian": "ru",
    "greek": "el",
    "hebrew": "he",
    "arabic": "ar",
    "swedish": "sv",
    "danish": "da",
    "norwegian": "no",
    "finnish": "fi",
    "portuguese": "pt",
    "hungarian": "hu",
    "yiddish": "yi",
}
"""Names that are not codes: tesseract's, and those that PAGE has for languages."""
_WHOLE = {
    **dict.fromkeys(("nb", "nn"), "no"),
    **dict.fromkeys(("arz", "ary", "arb", "apc", "acm"), "ar"),
    **dict.fromkeys(("yue", "wuu", "cmn"), "zh"),
    "uzs": "uz",
    "sdh": "ku",
    "ckb": "ku",
    "fil": "tl",
    "prs": "fa",
}
"""Kinds of a language that texts of a page do not tell apart."""
_NO_LANGUAGE = {"und", "mul", "zxx", "osd", "equ"}


@lru_cache(maxsize=256)
def language_tag(name: str) -> str | None:
    """The BCP 47 tag of a language: of an ISO 639 code (`deu`, `ger`), a tag, an English name, or the first of several
    (`deu+eng`); None where it means none."""
    import langcodes  # a tenth of the start of a process, most of which read no language

    first = _SEPARATOR.split(name.strip())[0]
    try:
        tag = langcodes.standardize_tag(_OTHER_NAMES.get(first.lower(), first))
    except ValueError:
        return None
    return tag if langcodes.tag_is_valid(tag) and tag.split("-")[0] not in _NO_LANGUAGE else None


@lru_cache(maxsize=4096)
def whole_language(tag: str) -> str:
    """The language that a tag is of, without script and region, and without its kind: `ar` of `arz`, `no` of `nb`."""
    import langcodes

    name = langcodes.standardize_tag(tag).split("-")[0]
    return _WHOLE.get(name, name)
