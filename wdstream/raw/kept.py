"""Files that can only be read forward stay open between the ranges of rows that a process reads of them.

The next range of a file, which is often the next shard, continues where the last one ended: a compressed file, or a row
group of a million rows, is read once by each process, and not from its start for each shard.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from wdstream.raw.remote.access import raw_state


class ForwardReader(Protocol):
    """Reads the rows of a file in rising order."""

    def can_read(self, first: int) -> bool:
        """Whether row `first` is not passed yet."""

    def close(self) -> None:
        """Close the file, after which no row can be read."""


_Reader = TypeVar("_Reader", bound=ForwardReader)


class _Kept:
    """The reader that stays open: one in a process."""

    identity: tuple[object, ...] = ()
    reader: ForwardReader | None = None


@contextmanager
def kept_reader(path: Path, first: int, kind: type[_Reader], make: Callable[[Path], _Reader]) -> Iterator[_Reader]:
    """A reader that can read from row `first` on, for the block: the one that stayed open, or a new one.

    Args:
        path: of the file.
        first: row that is read first.
        kind: of reader.
        make: opens a new one.

    Raises:
        PageError: the file cannot be read.
        OSError: as well.
    """
    identity = raw_state(path).identity
    kept, _Kept.reader = _Kept.reader, None
    if kept is not None and identity == _Kept.identity and isinstance(kept, kind) and kept.can_read(first):
        reader = kept
    else:
        if kept is not None:
            kept.close()
        reader = make(path)
    is_sound = True
    try:
        yield reader
    except Exception:
        is_sound = False
        raise
    finally:
        if is_sound:
            _Kept.identity, _Kept.reader = identity, reader
        else:
            reader.close()
