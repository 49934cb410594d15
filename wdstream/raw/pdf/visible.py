"""Which characters of a PDF page its picture shows, and why others do not count.

Most pages are sound, so the first look is cheap: boxes against the page and against the ink of the picture, and a walk
through the page's objects for what could hide a text. Only where that raises suspicion all is read of the characters,
and the page is drawn once more without the suspected texts: a text is shown where the two pictures differ.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import count_blanks, is_blank_code, is_letter_code, settle_blanks, words_of
from wdstream.raw.pdf.characters import PageCharacters, quarters_of
from wdstream.raw.pdf.doubled import find_doubled
from wdstream.raw.pdf.first_look import Look, doubtful_spans, has_vanished_text, look_at
from wdstream.raw.pdf.ink import (
    Picture,
    area_around,
    is_different,
    is_equal_in,
    is_like_ground,
    is_printed,
    part_of,
    shows_grey,
)
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import MIN_FONT_PIXELS, OF_PATTERNS, PageObjects
from wdstream.raw.pdf.places import (
    Boxes,
    CharacterMask,
    PictureArea,
    are_over,
    areas_of,
    centres_of,
    in_any,
    latest_over,
    median_of,
    shared_areas,
)
from wdstream.raw.pdf.scans import ScanLayer, find_scan_layer, in_any_of_many

DrawWithout = Callable[[Sequence[int], PictureArea], Picture]
"""Draws a part of the page, as its picture has it, without objects, which are given by their addresses."""

_MAX_ROUNDS = 3
"""Pictures drawn without texts: one, unless suspected texts overlap each other."""
_ROWS = 256
_MOST_OF_WORD, _HALF, _OF_PATTERN = 0.75, 0.5, 0.3
"""Share of the letters of a word; of the columns and rows of a letter; the same of one that a pattern fills in part."""
_INVISIBLE, _CLIP = 3, 7
"""Render modes: of text that is not painted, and of text that is only a clip, which is shown where something is painted
through it later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleCharacters:
    """Which of n characters count.

    Attributes:
        keep: (n,) blanks between words that count are kept with them.
        reasons: characters that do not count, without blanks, by reason.
        num_characters: all without blanks.
        num_from_scan: of those that count, how many belong to an invisible layer over a scan.
        num_doubled: how many repeat others at the same place.
    """

    keep: CharacterMask
    reasons: Counter[str] = field(default_factory=Counter)
    num_characters: int
    num_from_scan: int = 0
    num_doubled: int = 0

    @property
    def share(self) -> float:
        """Characters that count, of all; 1 where there are none."""
        return 1 - self.reasons.total() / self.num_characters if self.num_characters else 1.0

    @property
    def doubled_share(self) -> float:
        """Characters that repeat others, of all that would count without them and with them."""
        seen = self.num_characters - self.reasons.total() + self.num_doubled
        return self.num_doubled / seen if self.num_doubled else 0.0


def find_visible(
    layer: TextLayer, objects: PageObjects, picture: Picture, draw_without: DrawWithout, *, has_layers: bool
) -> VisibleCharacters:
    """Find the characters that the picture of a page shows.

    Args:
        layer: the text layer of the page, placed on the picture.
        objects: what the page draws.
        picture: (height, width, 4) the page.
        draw_without: draws the page without some of its texts.
        has_layers: whether the document has layers that may be hidden.

    Raises:
        SourceError: it cannot be decided; with the figure.
    """
    like_ground = _texts_like_ground(objects, picture)
    may_hide = has_layers or bool(objects.odd_texts or like_ground or objects.cuts)
    may_hide = may_hide or has_vanished_text(layer, objects) or _may_be_covered(objects, picture, draw_without)
    doubtful = None if may_hide else doubtful_spans(layer, objects, picture)
    if doubtful is not None and not len(doubtful):
        return _all_of(layer)
    if doubtful is not None:
        numbers = layer.characters_of_spans(doubtful)
        look = look_at(layer.codes[numbers], layer.boxes_of(numbers), picture)
        if look.is_sound:
            return _all_of(layer)
        if look.is_cut and not objects.has_forms:
            return _all_inside(layer, numbers, look)
    look = look_at(layer.codes, layer.boxes, picture)
    if not look.is_sound and layer.put_in_place([*objects.texts], objects.text_boxes[:, :4]):
        look = look_at(layer.codes, layer.boxes, picture)
    if not may_hide and look.is_sound:
        return _all_of(layer)
    judge = _Judge(layer.characters, objects, picture, look, like_ground)
    return judge.judge(draw_without, has_layers=has_layers)


def _may_be_covered(objects: PageObjects, picture: Picture, draw_without: DrawWithout) -> bool:
    """Whether something may hide texts that it is over. An image without which the page is the same there hides none:
    the clear margin of a figure is over the text around it. Where an image is over most texts, as in scans, it does."""
    found = objects.texts_under_images()
    if found is None or not len(found[0]):
        return found is None
    texts, covers = found
    if objects.has_forms or objects.annotations or 2 * len(texts) > len(objects.text_boxes):
        return True
    boxes = objects.text_boxes[texts, :4]
    area = area_around(picture, boxes, np.zeros(len(boxes), np.float32))
    bare = draw_without(objects.cover_handles[covers].tolist(), area)
    return not is_equal_in(part_of(picture, area), bare, boxes - np.array([area[0], area[1]] * 2, np.float32))


def _texts_like_ground(objects: PageObjects, picture: Picture) -> set[int]:
    """Texts that have the colour of the page around them, or that of a pattern, which is not known, by address; not
    those in whose place the grey is seen that PDFium says of patterns."""
    boxes, colours = objects.text_boxes[:, :4], objects.colours()
    found, patterned = is_like_ground(picture, boxes, colours), (colours == OF_PATTERNS).all(axis=1)
    if patterned.any():
        found[patterned] |= ~shows_grey(picture, boxes[patterned], OF_PATTERNS)
    return {objects.found_texts.handles[number] for number in found.nonzero()[0].tolist()}


def _all_of(layer: TextLayer) -> VisibleCharacters:
    num_characters = max(0, layer.num_characters - count_blanks(layer.text))
    return VisibleCharacters(keep=np.ones(layer.num_characters, np.bool_), num_characters=num_characters)


def _all_inside(layer: TextLayer, numbers: NDArray[np.intp], look: Look) -> VisibleCharacters:
    """All characters but those outside the page, where these are among some that were looked at, by number."""
    real = ~is_blank_code(layer.codes)
    judged, keep = real.copy(), real.copy()
    judged[numbers] = look.boxed
    keep[numbers[look.outside]] = False
    return VisibleCharacters(
        keep=settle_blanks(layer.codes, real, judged, keep),
        reasons=Counter({"outside the page": int(look.outside.sum())}),
        num_characters=int(real.sum()),
    )


class _Judge:
    """The characters of a page that raises suspicion, read whole."""

    def __init__(
        self, characters: PageCharacters, objects: PageObjects, picture: Picture, look: Look, like_ground: set[int]
    ) -> None:
        self._look = look
        self._texts_like_ground = like_ground
        self._characters = characters
        self._objects = objects
        self._picture = picture
        self._real = look.real & ~characters.is_generated
        self._boxed = look.boxed & ~characters.is_generated
        self._keep = self._real.copy()
        self._reasons: Counter[str] = Counter()
        text_orders = [objects.texts.get(handle, 0) for handle in characters.objects.handles]
        orders = np.array([*text_orders, 0])[characters.object_number]
        self._covered = latest_over(centres_of(characters.boxes), objects.covers) > orders
        are_patterned = (characters.objects.colours[:, :3] == OF_PATTERNS).all(axis=1)
        self._patterned = np.append(are_patterned, False)[characters.object_number]
        self._like_ground, self._is_cut = (
            np.array([*(handle in some for handle in characters.objects.handles), False])[characters.object_number]
            for some in (like_ground, objects.cuts)
        )

    def judge(self, draw_without: DrawWithout, *, has_layers: bool) -> VisibleCharacters:
        characters, blank = self._characters, self._look.blank
        self._drop(self._look.outside, "outside the page")
        self._drop(self._too_small(), "too small to read")
        suspected = self._suspected(blank, has_layers=has_layers)
        drawn = self._drawn(suspected, draw_without)
        hidden = self._keep & self._boxed & ~drawn
        covered = self._covered
        modes = np.array([*characters.objects.render_modes, 0])[characters.object_number]
        alphas = np.array([*characters.objects.colours[:, 3], 255])[characters.object_number]
        unpainted = (modes == _INVISIBLE) | (modes == _CLIP) | (alphas == 0)
        shown = self._keep & drawn & self._boxed
        scan = find_scan_layer(
            characters,
            self._objects.images,
            self._objects.paths,
            self._picture,
            hidden=hidden,
            unpainted=unpainted,
            covered=covered,
            shown=shown,
        )
        painted_through = (modes == _CLIP) & covered & ~blank & ~scan.doubled
        unseen = hidden & unpainted & ~scan.keep & ~scan.doubled
        hidden &= ~(painted_through | self._painted_otherwise(unseen, shown))
        self._drop(scan.doubled, "invisible over visible text")
        self._drop(hidden & unpainted & ~scan.keep, "invisible")
        self._drop(hidden & covered & ~scan.keep, "covered")
        self._drop(hidden & (blank | self._like_ground) & ~scan.keep, "no contrast")
        self._drop(hidden & ~scan.keep, "not drawn")
        return self._without_doubles(scan)

    def _drop(self, mask: CharacterMask, reason: str) -> None:
        dropped = mask & self._keep
        if dropped.any():
            self._keep &= ~dropped
            self._reasons[reason] += int(dropped.sum())

    def _painted_otherwise(self, unpainted: CharacterMask, shown: CharacterMask) -> CharacterMask:
        """Characters of invisible words whose letters something else paints: browsers write text with a colour that
        runs from one to another without opacity, and paint its shapes."""
        painted = np.zeros(len(unpainted), np.bool_)
        chosen = np.flatnonzero(unpainted & ~self._look.blank)
        if not len(chosen):
            return painted
        boxes = self._characters.boxes
        is_text = in_any_of_many(centres_of(boxes[chosen]), boxes[shown])
        painted[chosen] = is_printed(self._picture, boxes[chosen]) & ~is_text
        words = words_of(self._characters.codes, unpainted)
        shares = np.bincount(words[unpainted], weights=painted[unpainted]) / np.bincount(words[unpainted])
        result: CharacterMask = unpainted & np.append(shares >= _MOST_OF_WORD, False)[words]
        return result

    def _too_small(self) -> CharacterMask:
        """Characters of text objects whose font and tallest glyph are below `MIN_FONT_PIXELS`.

        Letters are as tall as they are high, other signs as long as they are.
        """
        characters = self._characters
        objects, number = characters.objects, characters.object_number
        tallest = np.zeros(len(objects.handles) + 1, np.float32)
        sides = characters.boxes[:, 2:] - characters.boxes[:, :2]
        heights = np.where(quarters_of(characters) % 2 == 0, sides[:, 1], sides[:, 0])
        np.maximum.at(tallest, number, np.where(is_letter_code(characters.codes), heights, sides.max(axis=1)))
        small = np.append((objects.font_sizes < MIN_FONT_PIXELS) & (tallest[:-1] < MIN_FONT_PIXELS), False)
        too_small: CharacterMask = self._real & small[number]
        return too_small

    def _suspected(self, blank: CharacterMask, *, has_layers: bool) -> NDArray[np.bool_]:
        """(m,) text objects that may not be shown."""
        characters, objects = self._characters, self._objects
        handles = characters.objects.handles
        unsure = objects.odd_texts | objects.cuts.keys() | self._texts_like_ground
        suspected = np.array([handle in unsure or has_layers for handle in handles], np.bool_)
        marked = self._keep & self._boxed
        words = words_of(characters.codes, marked)
        for mask in (blank & marked, self._covered & marked):
            if mask.any():  # letters at the edge of what hides a word have ink next to them
                suspected[characters.object_number[marked & np.isin(words, words[mask])]] = True
        if len(objects.images) and objects.clipped_texts:
            over_image = in_any(centres_of(characters.boxes), objects.images[:, :4])
            clipped_texts = {objects.found_texts.handles[number] for number in objects.clipped_texts}
            clipped = np.array([handle in clipped_texts for handle in handles], np.bool_)
            suspected |= clipped & np.isin(np.arange(len(handles)), characters.object_number[over_image & marked])
        is_read = np.zeros(len(handles) + 1, np.bool_)  # the last for what has no object
        is_read[characters.object_number[marked]] = True
        return suspected & is_read[:-1]

    def _drawn(self, suspected: NDArray[np.bool_], draw_without: DrawWithout) -> CharacterMask:
        """(n,) whether the picture shows a character: those of suspected objects by drawing the page without them.

        Objects that overlap each other are taken away in different rounds, and what turns out not to be shown stays
        away, so that of two equal texts over each other one is found to be shown.
        """
        characters = self._characters
        drawn = np.ones(len(characters), np.bool_)
        judged = self._keep & self._boxed
        never = np.array(characters.objects.render_modes) == _INVISIBLE
        gone = [characters.objects.handles[number] for number in np.flatnonzero(suspected & never)]
        drawn[np.append(suspected & never, False)[characters.object_number] & judged] = False
        heights = characters.boxes[judged, 3] - characters.boxes[judged, 1]
        least_size = 1.5 * float(median_of(heights)) if judged.any() else 0.0  # fonts of bitmaps have an em of a unit
        for members in _rounds(characters, suspected & ~never, judged):
            chosen = judged & np.isin(characters.object_number, members)
            handles = [characters.objects.handles[number] for number in members]
            boxes = characters.boxes[chosen]
            sizes = np.maximum(characters.objects.font_sizes[characters.object_number[chosen]], least_size)
            area = area_around(self._picture, boxes, sizes)
            # As parts of the page fields are drawn a little differently.
            baseline = draw_without([], area) if self._objects.annotations else part_of(self._picture, area)
            texts = [*gone, *handles, *self._copies_over(boxes)]
            boxes = boxes - np.array([area[0], area[1]] * 2, np.float32)
            images = self._images_over(area)
            if images:  # mostly, what is over text is their clear margin, and they take most of the time of drawing
                bare = draw_without([*gone, *images], area)
                if is_equal_in(baseline, bare, boxes):
                    without = draw_without([*texts, *images], area)
                    if is_different(bare, without, boxes, sizes).all():
                        continue
            words = words_of(characters.codes, judged)[chosen]
            drawn[chosen] = self._seen(chosen, words, (baseline, draw_without(texts, area)), boxes, sizes)
            shown = {*characters.object_number[chosen & drawn].tolist()}
            gone += [characters.objects.handles[number] for number in members.tolist() if number not in shown]
        return drawn

    def _seen(
        self,
        chosen: CharacterMask,
        words: NDArray[np.intp],
        pictures: tuple[Picture, Picture],
        boxes: Boxes,
        sizes: NDArray[np.float32],
    ) -> CharacterMask:
        """(k,) which of those chosen, of these words, differ in two pictures, as `is_different` takes them."""
        found = is_different(*pictures, boxes, sizes)
        like_ground, hidden = self._like_ground[chosen], ~found & (self._covered | self._is_cut)[chosen]
        if not (like_ground.any() or hidden.any()):
            return found
        clear = is_different(*pictures, boxes, sizes, least=_HALF)
        found &= clear | ~np.isin(words, words[hidden])  # of a word with hidden letters the tips of others are not read
        patterned = self._patterned[chosen]
        least, together = np.where(patterned, _HALF, _MOST_OF_WORD), words
        if patterned.any():  # thin letters may fall between the stripes of a pattern: a text is judged as a whole
            clear |= patterned & is_different(*pictures, boxes, sizes, least=_OF_PATTERN)
            texts = self._characters.object_number[chosen]
            together = np.where(patterned, texts + words.max() + 1, words)
        # What a line shows of a word of no contrast is not read; what a pattern leaves of letters is.
        shares = np.bincount(together, weights=clear) / np.maximum(np.bincount(together), 1)
        return found & (~like_ground | (shares[together] >= least))

    def _images_over(self, area: PictureArea) -> list[int]:
        """Images that cover a part of the picture, by address."""
        covers = self._objects.covers
        over = are_over(np.array([area], np.float32), covers)[0]
        is_image = np.isin(covers[:, 4], self._objects.images[:, 4])
        return [int(handle) for handle in self._objects.cover_handles[over & is_image]]

    def _copies_over(self, boxes: NDArray[np.float32]) -> list[int]:
        """Text objects without characters that are over some of (k, 4) boxes: PDFium leaves out what repeats a text
        at its place, and that may be what is shown."""
        known = {*self._characters.objects.handles}
        handles = np.array([handle for handle in self._objects.texts], np.int64)
        unknown = np.array([handle not in known for handle in handles.tolist()], np.bool_)
        if not unknown.any() or not len(boxes):
            return []
        over = are_over(self._objects.text_boxes[unknown], boxes).any(axis=1)
        return [int(handle) for handle in handles[unknown][over]]

    def _without_doubles(self, scan: ScanLayer) -> VisibleCharacters:
        characters = self._characters
        doubled = np.zeros(len(characters), np.bool_)
        if self._look.may_be_doubled or scan.keep.any():
            doubled = find_doubled(characters, self._keep & self._boxed, from_scan=scan.keep)
        num_doubled = self._reasons["invisible over visible text"] + int(doubled.sum())
        self._drop(doubled, "a second layer")
        self._reasons += Counter()  # without the zero that looking up has put there
        return VisibleCharacters(
            keep=settle_blanks(characters.codes, self._real, self._boxed, self._keep),
            reasons=self._reasons,
            num_characters=int(self._real.sum()),
            num_from_scan=int((scan.keep & self._keep).sum()),
            num_doubled=num_doubled,
        )


def _rounds(characters: PageCharacters, suspected: NDArray[np.bool_], judged: CharacterMask) -> list[NDArray[np.intp]]:
    """The suspected objects in rounds, so that none overlaps another of its round, as far as `_MAX_ROUNDS` allows."""
    numbers, objects = np.flatnonzero(suspected), characters.object_number
    if not len(numbers):
        return []
    chosen = np.flatnonzero(judged & np.append(suspected, False)[objects])
    chosen = chosen[objects[chosen].argsort(kind="stable")]
    boxes, starts = characters.boxes[chosen], objects[chosen].searchsorted(numbers)
    extents = np.concatenate(
        [np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)], axis=1
    )
    areas = areas_of(extents)
    round_of = np.zeros(len(numbers), np.intp)
    for start in range(0, len(numbers), _ROWS):
        rows = slice(start, start + _ROWS)
        shared = shared_areas(extents[rows], extents) > np.minimum(areas[rows, None], areas) / 4
        for at in (start + np.flatnonzero(np.tril(shared, start - 1).any(axis=1))).tolist():
            taken = {*round_of[:at][shared[at - start, :at]].tolist()}
            round_of[at] = next((number for number in range(_MAX_ROUNDS) if number not in taken), _MAX_ROUNDS - 1)
    return [numbers[round_of == number] for number in range(int(round_of.max()) + 1)]
