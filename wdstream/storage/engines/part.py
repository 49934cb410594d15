"""One part of work that is shared out to the tasks of a job array: which pieces are its own."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_SHOWN_PARTS = 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class WorkPart:
    """Part `number` of `of`, counted from 1. Pieces are dealt out like cards, so that none has all the large ones."""

    of: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `2/60`.

        Raises:
            ValueError: it is not of that form, or there is no such part.
        """
        found = _PART.fullmatch(text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"part: expected a part of all, from 1/N to N/N, such as 2/60; found {text!r}")
        return cls(number=int(found[1]), of=int(found[2]))

    @property
    def name(self) -> str:
        """For names of files."""
        return f"part-{self.number:06d}-of-{self.of:06d}"

    def owns(self, piece: int) -> bool:
        """Whether a piece, by its number from 0, is this part's."""
        return piece % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parts_that_owe(pieces: Iterable[int], of: int) -> str:
    """The parts whose pieces these are, as for `--part`: "2/60, 5/60"."""
    owing = sorted({piece % of + 1 for piece in pieces})
    shown = ", ".join(f"{number}/{of}" for number in owing[:_SHOWN_PARTS])
    return shown if len(owing) <= _SHOWN_PARTS else f"{shown} and {len(owing) - _SHOWN_PARTS} more"
