"""The label of a PDF page: the text of its layer that the picture shows, and what is known of it."""

import unicodedata
from contextlib import closing
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.annotations import place_annotations
from wdstream.raw.pdf.blanks import is_blank_code
from wdstream.raw.pdf.calls import names_of_texts, pdfium_calls, texts_of_names
from wdstream.raw.pdf.characters import PUT_IN_SPACE, reordered
from wdstream.raw.pdf.document import PdfPage
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.logical import needs_places, page_text
from wdstream.raw.pdf.objects import PageObjects
from wdstream.raw.pdf.places import centres_of
from wdstream.raw.pdf.reading.accent_marks import SIGNS, is_sign
from wdstream.raw.pdf.reading.accents import compose_accents, may_have_accents_apart
from wdstream.raw.pdf.reading.breaks import Breaks, find_breaks, find_clusters
from wdstream.raw.pdf.reading.east_asian import may_need_order, order_east_asian
from wdstream.raw.pdf.reading.fonts import has_embedded_font, is_embedded, read_fonts
from wdstream.raw.pdf.reading.lines import (
    has_lines_down,
    kept_numbers,
    may_have_initials,
    order_lines_down,
    place_initials,
)
from wdstream.raw.pdf.reading.maps import drawn_as_boxes, mapped_share, mapped_share_of_text
from wdstream.raw.pdf.reading.mended import BY_NAME, bracket_pieces, may_be_mended, mended_codes, mended_strokes
from wdstream.raw.pdf.visible import find_visible
from wdstream.raw.settings import LineOrder
from wdstream.records import Size
from wdstream.text.characters import beyond_ascii, kinds_of
from wdstream.text.script import EAST_ASIAN, right_to_left_letters, script_of

_FIRST_PRIVATE = 0xE000
_LEAST_NAMED, _MOST_COMPARED, _LEAST_ALIKE = 4, 400, 0.5
"""Letters of a name that is compared with what fonts say, and that are; likeness of those that say the same."""
_FIRST_RIGHT_TO_LEFT, _NOT_BELIEVED = "\u0590", "\uffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownText:
    """The text of a page, not normalised, its metadata, and the share of it that fonts map to Unicode."""

    text: str
    meta: dict[str, object]
    mapped: float = 1.0

    def replace_text(self, text: str) -> "ShownText":
        """The same with another text."""
        return ShownText(text=text, meta=self.meta, mapped=self.mapped)

    @property
    def dropped(self) -> str:
        """What does not count, in words: "3 covered, 12 outside the page"."""
        reasons = self.meta.get("text_dropped")
        return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) if isinstance(reasons, dict) else ""


def whole_layer(layer: TextLayer) -> ShownText:
    """All of a text layer, seen or not."""
    return ShownText(text=layer.text, meta={"text_from": "text layer", "script": script_of(layer.text)})


def read_shown_text(
    page: PdfPage, layer: TextLayer, picture: NDArray[np.uint8], scale: float, order: LineOrder
) -> ShownText:
    """The text of an open page that its picture, (height, width, 4), drawn at `scale`, shows.

    Raises:
        SourceError: the text cannot be read, or it cannot be decided what is shown.
    """
    objects, size = page.objects(page.pixel_size(scale)), page.pixel_size(scale)
    if not (false_names := _false_names(page, objects, size)):
        return _shown_text(page, layer, objects, picture, scale, order)
    for handle, mark in false_names.items():
        pdfium_calls().remove_mark(handle, mark)
    with page.text_layer(size) as layer_of_fonts:
        return _shown_text(page, layer_of_fonts, objects, picture, scale, order)


def _false_names(page: PdfPage, objects: PageObjects, size: Size) -> dict[int, int]:
    """Those of `names_of_texts` of a page that say other words than the fonts, where these are believed: fonts that are
    not in the file, or that the page has in texts without a name, too. Names of ligatures, of glyphs without a map and
    of other scripts are what the picture shows."""
    handles = objects.found_texts.handles
    names = names_of_texts(handles)
    long = texts_of_names({*names.values()}, least=_LEAST_NAMED) if names else {}
    said = {mark: letters for mark, name in long.items() if len(letters := _letters(name)) >= _LEAST_NAMED}
    said = {mark: letters for mark, letters in said.items() if _is_compared(letters)}
    if not said:
        return {}
    font_of = dict(zip(handles, map(pdfium_calls().font, handles), strict=True))
    believed = {font_of[handle] for handle in handles if handle not in names}
    drawn = dict.fromkeys(said, "")
    with closing(page.opened_again()) as again:
        others = again.objects(size)
        for handle, mark in names_of_texts(others.found_texts.handles).items():
            pdfium_calls().remove_mark(handle, mark)
        with again.text_layer(size) as layer:
            for handle, other in zip(handles, others.found_texts.handles, strict=True):
                mark = names.get(handle, 0)
                if mark in drawn:
                    is_believed = font_of[handle] in believed or not is_embedded(font_of[handle])
                    drawn[mark] += layer.text_of_object(other) if is_believed else _NOT_BELIEVED
    are_false = {mark for mark, text in drawn.items() if _is_other(text, said[mark])}
    return {handle: mark for handle, mark in names.items() if mark in are_false}


def _letters(text: str) -> str:
    """The letters and digits of a name or of what is drawn, as far as two are compared."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))[:_MOST_COMPARED]


def _is_compared(letters: str) -> bool:
    return max(letters) < _FIRST_RIGHT_TO_LEFT


def _is_other(drawn: str, name: str) -> bool:
    """Whether what fonts say are other words than the letters of a name, as far as both can be compared."""
    letters = "" if _NOT_BELIEVED in drawn else _letters(drawn)
    if not letters or letters == name or not _is_compared(letters):
        return False
    return SequenceMatcher(None, letters, name, autojunk=False).ratio() < _LEAST_ALIKE


def _shown_text(
    page: PdfPage, layer: TextLayer, objects: PageObjects, picture: NDArray[np.uint8], scale: float, order: LineOrder
) -> ShownText:
    """The same, of these objects."""
    found = find_visible(
        layer,
        objects,
        picture,
        lambda handles, area: page.drawn_without(handles, scale, area),
        has_layers=page.has_layers,
    )
    num_kept = found.num_characters - found.reasons.total()
    text, mapped = _text_of(layer, found.keep, objects, order)
    mapped = min(mapped, 1 - drawn_as_boxes(layer, found.keep, picture))
    meta: dict[str, object] = {
        "text_from": "ocr layer" if 2 * found.num_from_scan > num_kept else "text layer",
        "text_visible": round(found.share, 4),
        "text_mapped": round(mapped, 4),
        "text_doubled": round(found.doubled_share, 4),
        "script": script_of(text),
    }
    if found.reasons:
        meta["text_dropped"] = dict(sorted(found.reasons.items()))
    return ShownText(text=text, meta=meta, mapped=mapped)


def _part_of_text(layer: TextLayer, keep: NDArray[np.bool_], breaks: Breaks | None) -> str:
    """PDFium's text of a page, which has one code point per character, of the characters that count."""
    codes, is_put_in = layer.text_codes, np.zeros(len(keep), np.bool_)
    if not keep.all():
        blanks = np.flatnonzero(is_blank_code(codes))
        is_put_in[blanks] = layer.are_put_in(blanks)
    if breaks is not None:
        order = breaks.order(len(keep))
        is_lost, order = order < 0, np.maximum(order, 0)
        codes = np.where(is_lost, -PUT_IN_SPACE, breaks.mended(codes)[order]).astype(np.uint32)
        keep, is_put_in = keep[order] | is_lost, is_put_in[order] | is_lost
    return codes[kept_numbers(codes, is_put_in, keep)].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _text_without_places(layer: TextLayer, keep: NDArray[np.bool_]) -> tuple[str, float] | None:
    """`_text_of` a page without accents apart, of which some characters have no map; None where that depends on where
    characters are: to read all places takes longer than all else of such a page."""
    fonts = read_fonts(layer.unplaced)
    characters = mended_codes(layer.unplaced, fonts)
    codes = characters.codes
    has_accents = not is_sign(codes[is_sign(codes, "any")], "common").all()
    written = codes.astype("<u4").tobytes().decode("utf-32-le", "replace")
    if has_accents or needs_places(written) or EAST_ASIAN.search(beyond_ascii(written)):
        return None
    keep = keep & ~bracket_pieces(characters, fonts)
    text = page_text(characters, keep)
    return text, mapped_share(characters, keep, fonts, text)


def _text_of(layer: TextLayer, keep: NDArray[np.bool_], objects: PageObjects, order: LineOrder) -> tuple[str, float]:
    """The text of the characters that count, and the share of them that mean what they say.

    It is PDFium's own, or a part of that, where nothing has to be looked at one by one.
    """
    breaks, annotations = find_breaks(layer, objects), objects.annotations
    is_plain = not annotations and order == "file"
    if breaks is not None or not keep.all():
        is_whole = is_plain and len(layer.text) == layer.num_characters
        is_plain = is_whole and bool(keep.all() or layer.text_codes.max() < _FIRST_PRIVATE)
    if is_plain and not SIGNS.isdisjoint(kinds_of(layer.text)):
        is_plain = not may_have_accents_apart(layer.codes, layer.boxes_of)
    runs_down, has_initials = has_lines_down(layer.spans), may_have_initials(layer.spans)
    is_eastern, is_down = may_need_order(layer.text, lambda: layer.spans), None
    if is_plain and not (runs_down or has_initials or is_eastern) and not needs_places(layer.text):
        if (
            not layer.has_unmapped
            and not has_embedded_font(objects.found_texts.handles, BY_NAME)
            and not may_be_mended(layer.text)
        ):
            text = layer.text if breaks is None and keep.all() else _part_of_text(layer, keep, breaks)
            return text, mapped_share_of_text(text)
        without_places = None if breaks else _text_without_places(layer, keep)
        if without_places is not None:
            return without_places
    fonts = read_fonts(layer.characters)
    characters = mended_codes(layer.characters, fonts)
    spaces = None
    if breaks is not None:
        characters = replace(characters, codes=breaks.mended(characters.codes))
        characters, keep = reordered(characters, keep, breaks.order(len(keep)).tolist())
    if right_to_left_letters(characters.codes).any():
        clusters = find_clusters(mended_strokes(characters), objects)
        characters, spaces = clusters.characters, centres_of(clusters.spaces)
    characters, keep = compose_accents(characters, keep & ~bracket_pieces(characters, fonts))
    if annotations:
        characters, keep = place_annotations(characters, keep, annotations)
    if has_initials:
        characters, keep = place_initials(characters, keep)
    if runs_down:
        characters, keep = order_lines_down(characters, keep, objects.texts)
    if is_eastern:
        characters, keep, is_down = order_east_asian(characters, keep)
    text = page_text(characters, keep, order=order, is_down=is_down, spaces=spaces)
    return text, mapped_share(characters, keep, fonts, text)
