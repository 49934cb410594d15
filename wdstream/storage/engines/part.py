"""One part of work that is shared out to the tasks of a job array: which pieces are its own."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wdstream.errors import ShardError
from wdstream.storage.addresses import shown_url

if TYPE_CHECKING:
    from rich.console import Console

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_SHOWN_PARTS = 20
_SHOWN_PIECES = 5


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


def refuse_missing_pieces(where: object, missing: Sequence[int], total: int, of: int | None) -> None:
    """Refuse to merge while pieces are missing.

    Args:
        where: the output, for the message.
        missing: numbers of pieces, which are shards, in order.
        total: of all pieces.
        of: in how many parts the work is done, where that is known.

    Raises:
        ShardError: names them, and the parts that are to make them.
    """
    if not missing:
        return
    names = ", ".join(f"{number:06d}" for number in missing[:_SHOWN_PIECES])
    more = f" and {len(missing) - _SHOWN_PIECES:,} more" if len(missing) > _SHOWN_PIECES else ""
    whose = f"run --part {parts_that_owe(missing, of)} again" if of else "run the parts again that make them"
    raise ShardError(
        f"{where}: {len(missing):,} of {total:,} shards are missing, or made from something else: {names}{more}; "
        f"{whose}, then --merge; without --merge this command makes them here"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDone:
    """That a part of a job is done: of which output, which part, how many of its pieces and pages."""

    out: Path | str
    part: WorkPart
    num_shards: int
    num_pages: int

    def print(self, console: "Console") -> None:
        """Write it as two lines: what there is, and what follows."""
        lines = [
            f"{shown_url(str(self.out))}: part {self.part} is complete: {self.num_shards:,} shards, "
            f"{self.num_pages:,} pages",
            "when all parts are, the same command with --merge, in place of --part, does the rest",
        ]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
