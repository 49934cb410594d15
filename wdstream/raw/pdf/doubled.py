"""Text that repeats other text at the same place: a second OCR layer, copies for a fake bold or a shadow."""

from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import lines_of, words_of
from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import CharacterMask, areas_of, centres_of, distinct, extent_of, median_of, shared_areas

_MIN_SHARED = 0.5
"""Of a word's area that earlier words have, where it repeats them."""
_MIN_SIMILAR = 0.7
"""Of the letters of two visible words that are over each other, where one repeats the other."""
_COPY_SHIFT = 0.15
"""Of the em: how far a copy of a glyph is from it. The narrowest letters come again after 0.2."""
_KERNED_SHIFT = 0.05
"""The same where one glyph comes right after the other in one text."""
_LINE_SHIFT, _EM_SHIFT = 1.3, 0.65
"""Of the height of most glyphs, and of the em: how far from another a line of a scan's layer is that repeats it. The
next line of a page is nearly twice as far."""
_MIN_SIGNS = 3
_ROWS = 256


def may_be_doubled(codes: NDArray[np.uint32], boxes: NDArray[np.float32]) -> bool:
    """Whether at least three of k characters, (k,) and (k, 4), have another of the same code about where they are;
    cheap, and often wrong."""
    if len(boxes) < 2 * _MIN_SIGNS:
        return False
    cell = max(2.0, 0.2 * float(median_of(boxes[:, 3] - boxes[:, 1])))
    places = np.floor(centres_of(boxes) / cell).astype(np.int64)
    keys = (places[:, 1] << 42) + (places[:, 0] << 21) + codes.astype(np.int64)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    return int((same & (np.diff(order) > 1)).sum()) >= _MIN_SIGNS


def find_doubled(characters: PageCharacters, chosen: CharacterMask, *, from_scan: CharacterMask) -> CharacterMask:
    """(n,) which characters repeat earlier ones at their place.

    Two words of scans' layers that are over each other are one word, read twice, maybe differently; of visible words
    the letters must be similar, since letters may be printed over others. A glyph that is drawn twice within a fraction
    of its em counts once, whatever its word.

    Args:
        characters: of the page.
        chosen: (n,) those that count so far.
        from_scan: (n,) those of an invisible layer over a scan.
    """
    copies = _copies(characters, chosen)
    rest = chosen & ~copies
    words = words_of(characters.codes, rest)
    count = int(words.max(initial=-1)) + 1
    if count < 2:
        return copies
    starts = np.searchsorted(words[rest], np.arange(count + 1))
    members = np.flatnonzero(rest)
    slices = [members[start:stop] for start, stop in pairwise(starts)]
    boxes = np.array([extent_of(characters.boxes[part]) for part in slices], np.float32)
    texts = ["".join(map(chr, characters.codes[part])) for part in slices]
    repeats = _repeats(boxes, texts, np.array([from_scan[part].all() for part in slices]))
    doubled: CharacterMask = copies | (rest & np.append(repeats, False)[words])
    doubled |= _repeated_lines(characters, rest & from_scan & ~doubled)
    return doubled | _rest_of_lines(characters, rest & from_scan, doubled)


def _repeated_lines(characters: PageCharacters, layer: CharacterMask) -> CharacterMask:
    """(n,) characters of a scan's layer whose line says what an earlier one says that it is partly over.

    The layers of two programs may be half a line apart.
    """
    lines = lines_of(characters.codes, layer)
    count = int(lines.max(initial=-1)) + 1
    if count < 2:
        return np.zeros(len(layer), np.bool_)
    members = [np.flatnonzero(lines == number) for number in range(count)]
    boxes = np.array([extent_of(characters.boxes[line]) for line in members], np.float32)
    heights = np.array([np.median(np.diff(characters.boxes[line][:, 1::2])) for line in members], np.float32)
    ems = characters.objects.font_sizes[characters.object_number[[line[0] for line in members]]]
    limits = np.minimum(_LINE_SHIFT * heights, _EM_SHIFT * ems)
    starts = centres_of(characters.boxes[[line[0] for line in members]])[:, 1]  # lines of a skewed scan overlap
    widths = boxes[:, 2] - boxes[:, 0]
    shared = np.minimum(boxes[:, None, 2], boxes[:, 2]) - np.maximum(boxes[:, None, 0], boxes[:, 0])
    over = shared > _MIN_SHARED * np.minimum(widths[:, None], widths)
    over &= np.abs(starts[:, None] - starts) < np.minimum(limits[:, None], limits)
    repeats = np.zeros(count, np.bool_)
    for line, earlier in np.argwhere(np.tril(over, -1)).tolist():
        if not repeats[line] and not repeats[earlier]:
            texts = ["".join(map(chr, characters.codes[members[number]])) for number in (line, earlier)]
            repeats[line] = len(texts[0]) >= _MIN_SIGNS and _is_similar(*texts)
    result: CharacterMask = layer & np.append(repeats, False)[lines]
    return result


def _rest_of_lines(characters: PageCharacters, layer: CharacterMask, doubled: CharacterMask) -> CharacterMask:
    """(n,) characters of a scan's layer whose line mostly repeats others: its other words are misplaced repeats."""
    if not (layer & doubled).any():
        return np.zeros(len(layer), np.bool_)
    lines = lines_of(characters.codes, layer)
    sizes = np.bincount(lines[layer])
    repeated = np.bincount(lines[layer], weights=doubled[layer]) * 2 > sizes
    result: CharacterMask = layer & np.append(repeated, False)[lines]
    return result


def _repeats(boxes: NDArray[np.float32], texts: list[str], from_scan: CharacterMask) -> CharacterMask:
    """(k,) which words repeat earlier ones that are not repeated themselves."""
    repeats = np.zeros(len(boxes), np.bool_)
    areas = np.maximum(areas_of(boxes), 1.0)
    for start in range(0, len(boxes), _ROWS):
        shared = shared_areas(boxes[start : start + _ROWS], boxes)
        rows, columns = np.nonzero(shared > 0.1 * np.minimum(areas[start : start + _ROWS, None], areas))
        for number in distinct(rows):
            word = start + int(number)
            earlier = [int(other) for other in columns[rows == number] if other < word and not repeats[other]]
            if earlier and shared[number, earlier].sum() >= _MIN_SHARED * areas[word]:
                both = from_scan[word] and from_scan[earlier].all()
                repeats[word] = both or _is_similar(texts[word], "".join(texts[other] for other in earlier))
    return repeats


def _is_similar(word: str, earlier: str) -> bool:
    """Whether the letters of a word are mostly those of the earlier ones, in their order."""
    if word == earlier:
        return True
    same = sum(block.size for block in SequenceMatcher(None, word, earlier, autojunk=False).get_matching_blocks())
    return len(word) > 1 and same >= _MIN_SIMILAR * len(word)


def _copies(characters: PageCharacters, chosen: CharacterMask) -> CharacterMask:
    """(n,) characters with the code of an earlier one that is nearer than a fraction of the em."""
    copies = np.zeros(len(characters), np.bool_)
    places = np.flatnonzero(chosen)
    centres = centres_of(characters.boxes)
    sizes = np.append(characters.objects.font_sizes, 0)[characters.object_number]
    order = places[np.argsort(characters.codes[places], kind="stable")]
    codes = characters.codes[order]
    for group in np.split(order, np.flatnonzero(np.diff(codes)) + 1):
        for start in range(0, len(group), _ROWS):
            part = group[start : start + _ROWS]
            shift = np.abs(centres[part, None] - centres[group]).max(axis=2)
            same_text = characters.object_number[part, None] == characters.object_number[group]
            next_to = same_text & (part[:, None] == group + 1)
            # The letters of a ligature all have its box: "ff" is one glyph.
            shift[same_text & (shift == 0)] = np.inf
            limit = np.where(next_to, _KERNED_SHIFT, _COPY_SHIFT) * sizes[part, None]
            copies[part] = ((shift < limit) & (group < part[:, None])).any(axis=1)
    return copies
