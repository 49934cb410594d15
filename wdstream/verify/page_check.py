"""What is looked at in one page: its text, its images, and the digests by which duplicates are found."""

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray
from PIL import Image

from wdstream.errors import PageError
from wdstream.pixels.decode import EncodedImage, check_limit
from wdstream.records import Page, Pixels, Size, TextSegment
from wdstream.text.script import scripts_of
from wdstream.verify.options import VerifyOptions

DIGEST_BYTES = 16
PICTURE_BYTES = 32
SKETCH_SIZE = 8
_SIDE = 16
_LEAST_STEP = 3  # of 255: less is noise of JPEG, on paper without ink
_FEWEST_LETTERS, _FEWEST_SHARE = 20, 0.5
_LANGUAGE_FIELDS = ("language", "lang", "languages")
_ODD = regex.compile(r"[\p{Cc}\p{Co}\p{Cn}\p{Cs}\uFFFD--[\n\t]]", regex.VERSION1)
_WORD = re.compile(r"\w+")
_TWO_SCRIPTS = {
    "sr": "Latn",
    "bs": "Cyrl",
    "uz": "Cyrl",
    "az": "Cyrl",
    "kk": "Latn",
    "ku": "Arab",
    "pa": "Arab",
    "mn": "Mong",
}
"""A second script that is as usual as the one CLDR names."""
_PARTS_OF = {"Jpan": {"Hani", "Hira", "Kana"}, "Kore": {"Hang", "Hani"}, "Hans": {"Hani"}, "Hant": {"Hani"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMarks:
    """By what a page is compared with others.

    Attributes:
        page: digest of images and texts together, DIGEST_BYTES.
        pictures: digest of the images alone, DIGEST_BYTES; zeros where there is none.
        look: `picture_hash` of its first image, PICTURE_BYTES; zeros where it was not decoded.
        sketch: `text_sketch`, uint32 (SKETCH_SIZE,).
    """

    page: bytes
    pictures: bytes
    look: bytes
    sketch: NDArray[np.uint32]


def odd_text(page: Page) -> Iterator[tuple[str, str]]:
    """(kind, what) of everything odd in a page's text."""
    text = all_text(page)
    if not text.strip():
        yield "no text", f"{len(page.images)} images, and no text"
        return
    odd = _ODD.findall(text)
    replaced, controls = odd.count("\ufffd"), sum(char < " " or "\x7f" <= char <= "\x9f" for char in odd)
    if controls:
        yield "control characters", f"{controls:,} of {len(text):,} characters"
    if replaced:
        yield "replacement characters", f"{replaced:,} of {len(text):,} characters are U+FFFD"
    if len(odd) > controls + replaced:
        yield "no meaning in Unicode", f"{len(odd) - controls - replaced:,} of {len(text):,} characters"
    yield from _check_language(page, text)


def all_text(page: Page) -> str:
    """All texts of a page, a line each."""
    return "\n".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))


def opened_images(page: Page, options: VerifyOptions) -> tuple[list[Size], Pixels | None, list[str]]:
    """(width, height) of each image; the pixels of the first where images are decoded; which are too large for that.

    Raises:
        PageError: an image that cannot be read, which is named.
    """
    sizes: list[Size] = []
    first: Pixels | None = None
    too_large: list[str] = []
    for number, data in enumerate(page.images):
        try:
            image = EncodedImage(data)
            sizes.append(image.header.size)
            what = _above_limit(image, options.max_pixels)
            if options.deep and what:
                too_large.append(f"image {number} of {len(page.images)}: {what}")
            pixels = image.decode(max_pixels=options.max_pixels) if options.deep and not what else None
        except PageError as error:
            raise PageError(f"image {number} of {len(page.images)}: {error}") from error
        first = pixels if number == 0 else first
    return sizes, first, too_large


def _above_limit(image: EncodedImage, max_pixels: int) -> str:
    """Why a sound image is not decoded; empty for most."""
    try:
        check_limit(image.header, max_pixels)
    except PageError as error:
        return str(error)
    return ""


def marks_of(page: Page, pixels: Pixels | None) -> PageMarks:
    """By what a page is compared with others; `pixels` of its first image, where it was decoded."""
    pictures = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for data in page.images:
        pictures.update(len(data).to_bytes(8, "little") + data)
    whole = pictures.copy()
    whole.update(all_text(page).encode("utf-8", "surrogatepass"))
    return PageMarks(
        page=whole.digest(),
        pictures=pictures.digest() if page.images else bytes(DIGEST_BYTES),
        look=bytes(PICTURE_BYTES) if pixels is None else picture_hash(pixels),
        sketch=text_sketch(all_text(page)) if pixels is not None else np.zeros(SKETCH_SIZE, np.uint32),
    )


def picture_hash(pixels: Pixels) -> bytes:
    """The difference hash of an image: whether each of 16 x 16 areas is darker than the one to its right.

    Areas that differ by less than noise count as equal, so that paper is 0 whatever its grain.

    Args:
        pixels: uint8 (height, width, 3).
    """
    image = Image.fromarray(np.ascontiguousarray(pixels)).convert("L")
    small = image.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    areas = np.asarray(small, dtype=np.int16)
    return np.packbits(areas[:, 1:] - areas[:, :-1] >= _LEAST_STEP).tobytes()


def text_sketch(text: str, size: int = SKETCH_SIZE) -> NDArray[np.uint32]:
    """The smallest hashes of a text's word triples, uint32 (size,), rising; zeros for too short a text.

    The share that two sketches have in common estimates the share of triples that the texts have in common
    (Broder's MinHash, with the smallest values of one hash).
    """
    words = [word.encode() for word in _WORD.findall(text.casefold())]
    triples = {b" ".join(words[start : start + 3]) for start in range(len(words) - 2)}
    hashes = sorted({zlib.crc32(triple) for triple in triples})[:size]
    return np.array(hashes, np.uint32) if len(hashes) == size else np.zeros(size, np.uint32)


def _check_language(page: Page, text: str) -> Iterator[tuple[str, str]]:
    """A declared language whose script is not that of most letters."""
    declared = next((page.meta[name] for name in _LANGUAGE_FIELDS if isinstance(page.meta.get(name), str)), None)
    wanted = None if declared is None else _scripts_of_language(str(declared))
    if wanted is None:
        return
    scripts = scripts_of(text)
    fitting, total = sum(scripts[script] for script in wanted), scripts.total()
    if total >= _FEWEST_LETTERS and fitting < _FEWEST_SHARE * total:
        most = max(sorted(scripts), key=lambda script: scripts[script])
        yield (
            "script",
            f"language {declared!r} is written in {', '.join(sorted(wanted))}; of {total:,} letters {fitting:,} are, "
            f"and {scripts[most]:,} are {most}",
        )


@lru_cache(maxsize=1024)
def _scripts_of_language(tag: str) -> frozenset[str] | None:
    """Scripts in which a language is written, by CLDR's likely subtags; None for what is not the tag of a language."""
    from langcodes import Language  # which reads its tables for a fifth of a second

    try:
        language = Language.get(tag.replace("_", "-"))
        script = language.maximize().script
    except (ValueError, RuntimeError):
        return None
    if script is None or language.language in (None, "und") or not language.is_valid():
        return None
    second = {_TWO_SCRIPTS[language.language]} if language.language in _TWO_SCRIPTS else set()
    return frozenset(_PARTS_OF.get(script, {script}) | second)
