"""The text that stands beside a PDF or an image, page by page.

    x.tif.txt or x.txt        its text; the pages of a file of many are parted by form feeds, as OCR tools write them
    x.tif.3.txt or x.3.txt    the text of page 3, before the other

A sidecar is UTF-8. Beside a PDF it takes the place of the text layer.
"""

from pathlib import Path

from wdstream.errors import SourceError
from wdstream.raw.sources import split_suffix
from wdstream.text.characters import normalise_text

_MAX_BYTES = 64 << 20
PAGE_BREAK = "\f"


class Sidecars:
    """The texts beside one raw file. Opened when it is asked for the first page."""

    def __init__(self, source: Path, num_pages: int) -> None:
        self._source = source
        self._num_pages = num_pages
        bare = source.with_name(split_suffix(source.name)[0])
        self._names = [source, bare] if bare != source else [source]
        self._parts: list[str] | None = None

    def text(self, page: int) -> str | None:
        """Normalised text of page `page`, from 1; None where no file gives one.

        Raises:
            SourceError: the file is not UTF-8, too large, or has not as many parts as there are pages.
        """
        for name in self._names:
            file = name.with_name(f"{name.name}.{page}.txt")
            if file.is_file():
                return normalise_text(_read(file))
        if self._parts is None:
            self._parts = self._split()
        return normalise_text(self._parts[page - 1]) if self._parts else None

    def _split(self) -> list[str]:
        """The parts of the file for all pages, one a page; none without such a file."""
        file = next((file for name in self._names if (file := name.with_name(f"{name.name}.txt")).is_file()), None)
        if file is None:
            return []
        parts = _read(file).split(PAGE_BREAK)
        if len(parts) > 1 and not parts[-1].strip():
            parts.pop()
        if len(parts) != self._num_pages:
            raise SourceError(
                f"{file.name} holds the text of {len(parts)} pages (parted by form feeds), {self._source.name} has "
                f"{self._num_pages} pages; give one part a page, or one file a page ({self._source.stem}.1.txt)"
            )
        return parts


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise SourceError(f"{file.name} is above the limit of {_MAX_BYTES} bytes for the text of a file")
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file.name} is not UTF-8 (byte {error.start}); convert it") from error
    except OSError as error:
        raise SourceError(f"{file.name} cannot be read: {error.strerror}") from error
