"""The kinds of raw files that make-shards reads: one line for each.

A file's suffix decides. Its content is looked at only where sources share a suffix, since opening every file of a
folder of millions takes far longer than listing it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path, PurePosixPath

from wdstream.raw.csv_rows import CsvSource
from wdstream.raw.images import ImageSource
from wdstream.raw.pdf.source import PdfSource
from wdstream.raw.remote.access import open_raw
from wdstream.raw.rows import RowSource
from wdstream.raw.source import Source, split_suffix
from wdstream.raw.tables.source import TableSource
from wdstream.raw.tars.source import TarSource
from wdstream.text.not_text import LFS_POINTER

SOURCES: tuple[Source, ...] = (
    PdfSource(),
    ImageSource(),
    RowSource(),
    TableSource(),
    TarSource(),
    CsvSource(),
)
"""Our own."""
_HEAD_BYTES = 1 << 16
_current: ContextVar[tuple[Source, ...]] = ContextVar("sources", default=SOURCES)


@contextmanager
def use_sources(sources: tuple[Source, ...]) -> Iterator[None]:
    """Use these sources for the block, of which the first that reads a file counts."""
    token = _current.set(sources)
    try:
        yield
    finally:
        _current.reset(token)


def current_sources() -> tuple[Source, ...]:
    """The sources that are used: our own, and plugins (plugins/active.py)."""
    return _current.get()


def source_of_kind(kind: str) -> Source:
    """The source of this name."""
    return _by_kind(_current.get())[kind]


@lru_cache
def _by_kind(sources: tuple[Source, ...]) -> dict[str, Source]:
    return {source.kind: source for source in reversed(sources)}


def source_of_name(folder: Path, name: str) -> Source | None:
    """The source that reads a file of this name in a folder, None when there is none: by its suffix, and where sources
    share it, by content. No path is made of millions of names that say enough."""
    sources = _current.get()
    lower = name.lower()
    dot = lower.find(".")
    # Millions of files have few endings; only from the first dot on, so that there are few.
    able, is_open = _able("x" + lower[dot:] if dot > 0 and _have_dots(sources) else lower, sources)
    if is_open:
        head = _head(folder / name)
        if head is not None and not head.startswith(LFS_POINTER):  # of which the survey says what it is
            able = tuple(source for source in able if source.recognises(head))
    return able[0] if able else None


@lru_cache(maxsize=4096)
def _able(name: str, sources: tuple[Source, ...]) -> tuple[tuple[Source, ...], bool]:
    """The sources that may read a file of this name, and whether its content must say which."""
    able = tuple(source for source in sources if split_suffix(name, source.suffixes))
    return able, len(able) > 1 or any(split_suffix(name, source.doubtful_suffixes) for source in able)


@lru_cache
def _have_dots(sources: tuple[Source, ...]) -> bool:
    return all(suffix.startswith(".") for source in sources for suffix in (*source.suffixes, *source.doubtful_suffixes))


def without_suffix(name: str) -> tuple[str, str]:
    """A file name without its suffix, and the suffix: (`a.b`, `.pdf.gz`) of `a.b.pdf.gz`."""
    known = split_suffix(name, known_suffixes())
    if known is not None:
        return known
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix), suffix


def known_suffixes() -> tuple[str, ...]:
    """The suffixes of all sources."""
    return _suffixes(_current.get())


@lru_cache
def _suffixes(sources: tuple[Source, ...]) -> tuple[str, ...]:
    return tuple(suffix for source in sources for suffix in source.suffixes)


def doubtful_suffixes() -> tuple[str, ...]:
    """The suffixes that others use for something else, too, unless a plugin that is asked for reads them first."""
    return _doubtful(_current.get())


@lru_cache
def _doubtful(sources: tuple[Source, ...]) -> tuple[str, ...]:
    readers = {suffix: source for source in reversed(sources) for suffix in source.suffixes}
    return tuple(suffix for suffix, source in readers.items() if suffix in source.doubtful_suffixes)


@lru_cache
def page_suffixes() -> tuple[str, ...]:
    """The suffixes of files that may have a text, or more, in a file next to them."""
    return tuple(suffix for source in SOURCES if source.takes_sidecar for suffix in source.suffixes)


@lru_cache
def companion_names() -> frozenset[str]:
    """Names of files that come with those of a source, and hold no pages."""
    return frozenset(name for source in SOURCES for name in source.companions)


def _head(path: Path) -> bytes | None:
    """The first bytes of a file; None where they cannot be read: the survey opens it again, and says why."""
    try:
        with open_raw(path) as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError:  # it was there a moment ago
        return b""
    except OSError:
        return None
