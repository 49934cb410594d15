"""From the order in which a line is printed to the order in which it is read, for lines of right-to-left scripts.

The Unicode bidirectional algorithm (UAX 9) goes from logical to visual order; a page needs the way back. Printed order
loses something (where a direction was set by hand), so a few rules say what people write: `\\name`, `/path` and
`--option` begin with their sign, list numbers (`5-`) end with it.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

OPENING, CLOSING = "([{<«‹⟨⟦", ")]}>»›⟩⟧"
MIRROR = dict(zip(OPENING + CLOSING, CLOSING + OPENING, strict=True))
_BEGINS_A_WORD = frozenset("\\/-@$~_&")
_ENDS_A_WORD = frozenset("+")
_ENDS_A_SENTENCE = frozenset(",;:!?")


@dataclass(frozen=True, slots=True)
class Element:
    """One printed element of a line: a letter with its marks, a digit, a sign, a space.

    Attributes:
        text: its characters, in logical order among themselves.
        kind: bidirectional class of the first: L, R, AL, EN, AN, ES, ET, CS, WS, ON.
        number: which character of the page it is, -1 for a space that was put in.
    """

    text: str
    kind: str
    number: int = -1


def element_of(text: str, number: int = -1) -> Element:
    """An element of `text`, with the class of its first character; what is not listed in `Element` counts as ON."""
    return Element(text, _kind(text[0]), number)


@lru_cache(maxsize=4096)
def _kind(letter: str) -> str:
    kind = unicodedata.bidirectional(letter)
    return kind if kind in {"L", "R", "AL", "EN", "AN", "ES", "ET", "CS", "WS"} else "ON"


def logical_order(printed: Sequence[Element], *, from_right: bool = True) -> list[tuple[Element, bool]]:
    """Elements of a line in reading order.

    Args:
        printed: the line's elements from left to right.
        from_right: whether the line as a whole reads from right to left.

    Returns:
        each element, with True where it is part of right-to-left text, False inside a left-to-right run.
    """
    if not from_right:
        return _with_right_to_left_runs(printed)
    runs = _left_to_right_runs(printed)
    ordered: list[tuple[Element, bool]] = []
    at = len(printed) - 1
    while at >= 0:
        end = at
        if not runs[at]:
            ordered.append((printed[at], True))
            at -= 1
            continue
        while at >= 0 and runs[at] == runs[end]:
            at -= 1
        ordered += [(element, False) for element in printed[at + 1 : end + 1]]
    return ordered


def _with_right_to_left_runs(printed: Sequence[Element]) -> list[tuple[Element, bool]]:
    """A left-to-right line whose right-to-left runs, from strong letter to strong letter, are read from the right."""
    pairs = partners(printed)
    kinds = [element.kind for element in printed]
    kinds = _with_turned_brackets(kinds, printed, _around_right_to_left(printed, kinds, pairs))
    ordered: list[tuple[Element, bool]] = []
    at = 0
    while at < len(printed):
        last = _end_of_right_to_left_run(kinds, pairs, at)
        if last < at:
            ordered.append((printed[at], False))
            at += 1
            continue
        first, last = _with_partner(pairs, at, last)
        del ordered[len(ordered) - (at - first) :]
        ordered += logical_order(printed[first : last + 1])
        at = last + 1
    return ordered


def _around_right_to_left(printed: Sequence[Element], kinds: Sequence[str], pairs: dict[int, int]) -> dict[int, int]:
    """Those of `pairs` that have no letter of the line's own direction inside, and are none as they are printed: a line
    may begin inside of a bracket and end in another one."""
    as_printed = _matched(printed, OPENING)
    return {
        at: other
        for at, other in pairs.items()
        if at not in as_printed and other not in as_printed and "L" not in kinds[min(at, other) : max(at, other)]
    }


def _with_turned_brackets(kinds: list[str], printed: Sequence[Element], pairs: dict[int, int]) -> list[str]:
    """Classes with brackets that have the codes of the other shapes as right-to-left: such text has turned them."""
    for at in pairs:
        if printed[min(at, pairs[at])].text in CLOSING:
            kinds[at] = "R"
    return kinds


def _end_of_right_to_left_run(kinds: Sequence[str], pairs: dict[int, int], first: int) -> int:
    """Last strong letter of the run that begins at `first`, before a bracket that is closed outside it; -1 for none."""
    last = -1
    for at in range(first, len(kinds)):
        if kinds[at] in {"R", "AL"}:
            last = at
        elif kinds[at] == "L" or last < first:
            break
    cut = next((at for at in range(first, last) if not first <= pairs.get(at, first) <= last), last + 1)
    return max((at for at in range(first, cut) if kinds[at] in {"R", "AL"}), default=-1)


def _left_to_right_runs(printed: Sequence[Element]) -> list[int]:
    """For each element the number of its left-to-right run, from 1; 0 for the right-to-left text."""
    runs = [0] * len(printed)
    pairs = partners(printed)
    kinds = _with_turned_brackets(_resolved_numbers(printed), printed, pairs)
    number = last = 0
    for at, kind in enumerate(kinds):
        if kind not in {"L", "EN", "AN"} or runs[at]:
            continue
        number += 1
        first, last = at, _end_of_run(printed, kinds, pairs, at)
        if "L" in kinds[first : last + 1]:
            first, last = _with_signs(printed, first, last)
        first, last = _with_partner(pairs, first, last)
        runs[first : last + 1] = [number] * (last + 1 - first)
    return runs


def _resolved_numbers(printed: Sequence[Element]) -> list[str]:
    """Classes with European numbers as Arabic ones where the strong letter before them, to the right, is Arabic (W2).

    Terminators (`%`, `#`) next to a European number become part of it (W5), separators between two digits too (W4).
    """
    kinds = [element.kind for element in printed]
    strong = "R"
    for at in range(len(kinds) - 1, -1, -1):
        if kinds[at] in {"R", "AL"}:
            strong = kinds[at]
        elif kinds[at] == "EN" and strong == "AL":
            kinds[at] = "AN"
    for at in range(1, len(kinds) - 1):
        before, after = kinds[at - 1], kinds[at + 1]
        if before == after and ((kinds[at] == "CS" and before in {"EN", "AN"}) or (kinds[at], before) == ("ES", "EN")):
            kinds[at] = before
    return _with_terminators(_with_terminators(kinds)[::-1])[::-1]


def _with_terminators(kinds: list[str]) -> list[str]:
    """Classes with the terminators after a European number as part of it."""
    for at in range(1, len(kinds)):
        if kinds[at] == "ET" and kinds[at - 1] == "EN":
            kinds[at] = "EN"
    return kinds


def _end_of_run(printed: Sequence[Element], kinds: Sequence[str], pairs: dict[int, int], first: int) -> int:
    """Last element of the run that begins at `first`: letters, numbers, and what is neutral between them.

    A bracket that was opened before the run ends it (`(glibc) C` is read from the right: C, then the bracket).

    Two numbers that a space parts are two runs (right-to-left text continues between them), and so are Arabic digits
    and Latin letters; European numbers belong to the Latin words next to them (`Python 3`).
    """
    last, has_letter = first, kinds[first] == "L"
    for at in range(first + 1, len(printed)):
        kind, parted = kinds[at], at > last + 1
        if kind in {"R", "AL"} or pairs.get(at, first) < first:
            break
        if kind not in {"L", "EN", "AN"}:
            continue
        arabic = printed[last if kind == "L" else at].kind == "AN"
        if parted and (arabic or (kind != "L" and not has_letter) or _ends_right_to_left(printed, last, at)):
            break
        has_letter = has_letter or kind == "L"
        last = at
    return last


def _ends_right_to_left(printed: Sequence[Element], last: int, at: int) -> bool:
    """Whether a space and a sign are between two letters or numbers as between the end and the begin of a sentence that
    is read from the right (`Then .2024`): Latin text has the sign before the space, but for `.5` and `.NET`.

    Not between names in a formula (`[a; x0]`), one letter each: these may have more room before the sign than after it.
    """
    if at != last + 3 or printed[last + 1].kind != "WS":
        return False
    if last == 0 or printed[last - 1].kind == "WS" or printed[last - 1].text in MIRROR:
        return False
    if at + 1 == len(printed) or printed[at + 1].kind != printed[at].kind:
        return False
    sign = printed[last + 2].text
    is_year = sign == "." and [element.kind for element in printed[at : at + 4]] == ["EN"] * 4
    return sign in _ENDS_A_SENTENCE or is_year


def _with_signs(printed: Sequence[Element], first: int, last: int) -> tuple[int, int]:
    """The run with signs that begin (`\\`, `--`) or end (`++`) a word, where a space or the line's end is beyond."""
    begin = first
    while begin > 0 and printed[begin - 1].text in _BEGINS_A_WORD:
        begin -= 1
    if begin == 0 or printed[begin - 1].kind == "WS" or printed[begin - 1].text in MIRROR:
        first = begin
    end = last
    if any(element.text == "/" for element in printed[first : last + 1]):  # the last sign of a path or an address
        while last + 1 < len(printed) and printed[last + 1].text == "/":
            last += 1
    end = last
    while end + 1 < len(printed) and printed[end + 1].text in _ENDS_A_WORD:
        end += 1
    if end + 1 == len(printed) or printed[end + 1].kind == "WS":
        last = end
    return first, last


def _with_partner(pairs: dict[int, int], first: int, last: int) -> tuple[int, int]:
    """The run with the bracket that closes or opens one inside it, as in `open(2)`."""
    while first <= pairs.get(last + 1, -1) <= last:
        last += 1
    while first <= pairs.get(first - 1, -1) <= last:
        first -= 1
    return first, last


def partners(printed: Sequence[Element]) -> dict[int, int]:
    """Which brackets belong together, by place: by their printed shapes, or mirrored if more of them fit so."""
    as_printed = _matched(printed, OPENING)
    mirrored = _matched(printed, CLOSING)
    return mirrored if len(mirrored) > len(as_printed) else as_printed


def _matched(printed: Sequence[Element], opening: str) -> dict[int, int]:
    waiting: list[int] = []
    pairs: dict[int, int] = {}
    for at, element in enumerate(printed):
        if element.text in opening:
            waiting.append(at)
        elif element.text in MIRROR and waiting and printed[waiting[-1]].text == MIRROR[element.text]:
            pairs[at] = waiting.pop()
            pairs[pairs[at]] = at
    return pairs
