"""Ruby: small kana or bopomofo next to letters, which say how these are read.

PDFium has them as lines and words of their own, in the middle of a word, too. They are printed, so they are text; as
where ruby cannot be set, they follow the letters that they belong to in parentheses (HTML's `<rp>`): 吾輩（わがはい）.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.reading.columns import UnitNumbers, Units

_SMALLEST, _LARGEST = 0.3, 0.7  # of the letters' em
_CLOSE, _CLOSE_DOWN, _OVER = 0.4, 0.55, -0.3  # in ems of the letters: how far away from lines and columns, how far over
_PAST = 0.3  # in ems: past the side of the letters
_TOGETHER = 0.6  # in ems of the ruby: letters of one word are not further apart
_SPREAD = 1.2  # in ems of the ruby: nor letters over different Han letters of one word
_KANA = ((0x3041, 0x309F), (0x30A0, 0x30FF), (0x3105, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF))
_HAN = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FFFF), (0x3005, 0x3007))
_POINTS = ((0x21, 0x2F), (0x3000, 0x303F), (0xFE10, 0xFE4F), (0xFF01, 0xFF0F), (0xFF1A, 0xFF20), (0xFF5B, 0xFF65))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruby:
    """The ruby of one word: units of it in the order in which they are read, and the last of its letters."""

    units: list[int] = field(default_factory=list)
    last: int


def _within(codes: NDArray[np.uint32], ranges: tuple[tuple[int, int], ...]) -> NDArray[np.bool_]:
    found = np.zeros(len(codes), np.bool_)
    for first, last in ranges:
        found |= (codes >= first) & (codes <= last)
    return found


def find_ruby(characters: PageCharacters, units: Units, columns: UnitNumbers | None) -> list[Ruby]:
    """The ruby of a page.

    Args:
        characters: of the page.
        units: k of them.
        columns: (k,) of `column_numbers`.
    """
    codes = characters.codes[units.first]
    small = np.flatnonzero(_within(codes, _KANA) & units.is_cell & (units.em < _LARGEST * units.em.max(initial=0)))
    if not len(small):
        return []
    is_point = _within(codes, _POINTS) & ~_within(codes, _HAN)
    hosts = np.flatnonzero(~units.is_turned & ~is_point & (units.em > units.em[small].min() / _LARGEST))
    is_down = np.zeros(len(codes), np.bool_) if columns is None else columns >= 0
    is_han = _within(codes, _HAN)
    host = _hosts(units, small, hosts, is_down, is_han)
    pairs = [pair for group in _groups(units, small, host, is_down) for pair in _settled(units, group, is_down, is_han)]
    return _words(units, pairs, is_down, is_han)


def _groups(
    units: Units, small: UnitNumbers, host: UnitNumbers, is_down: NDArray[np.bool_]
) -> list[list[tuple[int, int]]]:
    """Small letters with their hosts, -1 for none, those together that follow each other in PDFium's order."""
    found: list[list[tuple[int, int]]] = []
    for unit, base in zip(small.tolist(), host.tolist(), strict=True):
        last = found[-1][-1][0] if found else -1
        if last == unit - 1:
            side = 1 if is_down[unit] else 0
            gap = float(units.boxes[unit, side] - units.boxes[last, side + 2])
            aside = float(abs(units.centres[unit, 1 - side] - units.centres[last, 1 - side]))
            if max(abs(gap), aside) < _TOGETHER * float(units.em[unit]):
                found[-1].append((unit, base))
                continue
        found.append([(unit, base)])
    return found


def _settled(
    units: Units, group: list[tuple[int, int]], is_down: NDArray[np.bool_], is_han: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """A group whose letters have hosts: the Han letters under it, or the one word of other letters.

    Long readings go past their letters, to both sides alike: so the middle of the group decides which word it is of.
    Groups that are mostly next to nothing are not ruby.
    """
    bases = [base for _, base in group if base >= 0]
    if 3 * len(bases) < len(group):
        return []
    han = [at for at, (_, base) in enumerate(group) if base >= 0 and is_han[base]]
    if not han:
        most = max(sorted(set(bases)), key=bases.count)
        return [(unit, most) for unit, _ in group]
    middle = min(han, key=lambda at: abs(2 * at - len(group) + 1))
    hosts = [group[middle][1]] * len(group)
    for step, places in ((-1, range(middle - 1, -1, -1)), (1, range(middle + 1, len(group)))):
        for at in places:
            near, base = hosts[at - step], group[at][1]
            first, last = (base, near) if step < 0 else (near, base)
            is_same = base >= 0 and _is_one_word(units, first, last, down=bool(is_down[near]), is_han=is_han)
            hosts[at] = base if is_same else near
    return [(unit, host) for (unit, _), host in zip(group, hosts, strict=True)]


def _hosts(
    units: Units, small: UnitNumbers, hosts: UnitNumbers, is_down: NDArray[np.bool_], is_han: NDArray[np.bool_]
) -> UnitNumbers:
    """(s,) the letter that each small one is next to, -1 for none: Han letters before others."""
    em, boxes, middles = units.em[hosts], units.boxes[hosts], units.centres[small]
    ratio = units.em[small][:, None] / em
    down = is_down[hosts]
    away = np.where(down, units.boxes[small, 0][:, None] - boxes[:, 2], boxes[:, 1] - units.boxes[small, 3][:, None])
    along = np.where(down, middles[:, 1:], middles[:, :1])
    low, high = np.where(down, boxes[:, 1], boxes[:, 0]), np.where(down, boxes[:, 3], boxes[:, 2])
    past = np.maximum(np.maximum(low - along, along - high), 0) / em
    slack = np.where(down, _slack(units, hosts, 0), _slack(units, hosts, 1)) / em
    away = away / em - slack
    fits = (ratio > _SMALLEST) & (ratio < _LARGEST) & (away > _OVER) & (away < np.where(down, _CLOSE_DOWN, _CLOSE))
    cost = np.where(fits, past + np.where(is_han[hosts], 0, 0.5), np.inf)
    best = cost.argmin(axis=1)
    found: UnitNumbers = np.where(cost[np.arange(len(small)), best] < _PAST + 0.5, hosts[best], -1)
    return found


def _slack(units: Units, hosts: UnitNumbers, side: int) -> NDArray[np.float32]:
    """(h,) how much of its cell is empty at each side of a letter, at most half of it."""
    sides = units.boxes[hosts, 2 + side] - units.boxes[hosts, side]
    empty: NDArray[np.float32] = np.clip((units.em[hosts] - sides) / 2, 0, None)
    return empty


def _words(
    units: Units, pairs: list[tuple[int, int]], is_down: NDArray[np.bool_], is_han: NDArray[np.bool_]
) -> list[Ruby]:
    """Ruby by words: what is over Han letters that follow each other on one line."""
    centres = units.centres
    lines: dict[tuple[bool, int], list[tuple[float, int, int]]] = {}
    for unit, base in pairs:
        down = bool(is_down[base])
        across, along = (0, 1) if down else (1, 0)
        line = round(float(centres[base, across] / units.em[base]))
        lines.setdefault((down, line), []).append((float(centres[unit, along]), unit, base))
    found: list[Ruby] = []
    for (down, _), members in sorted(lines.items()):
        last = -1
        for _, unit, base in sorted(members):
            before = found[-1].units[-1] if last >= 0 else unit
            side = 1 if down else 0
            gap = float(units.boxes[unit, side] - units.boxes[before, side + 2])
            is_near = last == base or gap < _SPREAD * float(units.em[unit])
            if last >= 0 and is_near and _is_one_word(units, last, base, down=down, is_han=is_han):
                found[-1].units.append(unit)
                found[-1] = Ruby(units=found[-1].units, last=base)
            else:
                found.append(Ruby(units=[unit], last=base))
            last = base
    return found


def _is_one_word(units: Units, before: int, after: int, *, down: bool, is_han: NDArray[np.bool_]) -> bool:
    if before == after:
        return True
    side = 1 if down else 0
    gap = float(units.boxes[after, side] - units.boxes[before, side + 2])
    return bool(is_han[before] and is_han[after]) and gap < 0.9 * float(units.em[before])
