"""The text files next to a PDF or an image: their names, and their text, page by page.

    x.tif.txt or x.txt        its text; the pages of a file of many are separated by form feeds, as OCR tools write them
    x.tif.3.txt or x.3.txt    the text of page 3, before the other

A sidecar is UTF-8. It takes the place of the text layer of a PDF.
"""

import errno
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from wdstream.errors import SourceError
from wdstream.raw.reading import limits, read_bytes, read_plain
from wdstream.raw.remote.access import is_raw_file
from wdstream.raw.source import split_suffix
from wdstream.raw.texts.page_text import TEXT_FILE, FoundText
from wdstream.text.characters import normalise_text, short_name
from wdstream.text.not_text import other_than_text

_NAME = re.compile(r"(?P<name>.*?)(?P<page>\.[1-9][0-9]*)?\.txt", re.DOTALL | re.IGNORECASE)
PAGE_BREAK = "\f"


def find_sidecars(names: Iterable[str], bare_names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The text files of a folder, sorted, by the name of each raw file that has any, whose text they are.

    Args:
        names: of all files of the folder.
        bare_names: of each raw file that may have sidecars, its name without suffix.
    """
    texts: dict[str, list[str]] = {}
    for name in names:
        if name[-4:].lower() == ".txt" and (match := _NAME.fullmatch(name)):
            texts.setdefault(match["name"], []).append(name)
            if match["page"]:
                texts.setdefault(match["name"] + match["page"], []).append(name)
    found = ((name, texts.get(name, ()), texts.get(bare, ())) for name, bare in bare_names.items())
    return {
        name: (*sorted({*own, *others}),) if own else (*sorted(others),) for name, own, others in found if own or others
    }


class Sidecars:
    """The texts of one raw file. Opened when it is asked for the first page.

    Args:
        path: of the raw file.
        suffixes: of its source.
        num_pages: its pages.
        listed: names of the text files that are next to it, by `find_sidecars`; None where that is not known.
    """

    def __init__(
        self, path: Path, suffixes: tuple[str, ...], num_pages: int, listed: Collection[str] | None = None
    ) -> None:
        self._path = path
        self._listed = listed
        self._num_pages = num_pages
        name = path.name
        self._folder = str(path).removesuffix(name)
        bare, _suffix = split_suffix(name, suffixes) or (name, "")
        self._names = (name,) if name == bare else (name, bare)
        self._texts: list[str] | None = None

    def text(self, page: int) -> FoundText | None:
        """The text of page `page`, from 1; None where no file gives one.

        Raises:
            SourceError: the file is not UTF-8, too large, or has not one text for each page.
        """
        for file in self._files(f".{page}.txt"):
            text = self._text(file)
            if text is not None:
                return _page_text(text)
        if self._texts is None:
            self._texts = self._split()
        return _page_text(self._texts[page - 1]) if self._texts else None

    def _split(self) -> list[str]:
        """The texts of all pages, from the file for all of them; none without such a file."""
        found = ((file, text) for file in self._files(".txt") if (text := self._text(file)) is not None)
        file, whole = next(found, ("", None))
        if whole is None:
            return []
        texts = _split_pages(whole)
        if len(texts) != self._num_pages:
            raise SourceError(
                f"{file} holds the text of {len(texts)} pages (separated by form feeds), {self._path.name} has "
                f"{self._num_pages} pages; write one text for each page, or one file for each page "
                f"({self._path.stem}.1.txt)"
            )
        return texts

    def _files(self, ending: str) -> list[str]:
        """Names of text files that end so, of which a listing says which are there without a look; scanners and old
        systems write `A.TXT`."""
        files, listed = [name + ending for name in self._names], self._listed
        if listed is None:
            return [spelt for file in files for spelt in (file, file[:-4] + ".TXT")]
        exact = [file for file in files if file in listed]
        return exact or [other for file in files for other in listed if other[:-4] + other[-4:].lower() == file]

    def _text(self, name: str) -> str | None:
        """The text in the file of this name next to it; None where there is none.

        Raises:
            SourceError: it cannot be read, is too large, or not UTF-8.
        """
        limit = limits().max_text_bytes
        data = read_plain(self._folder + name, limit=limit) if self._listed is not None else None
        if data is None:
            file = self._path.with_name(name)
            if not _is_file(file):
                return None
            try:
                data = read_bytes(file, limit=limit, option="--max-text-bytes")
            except SourceError as error:
                if short_name(name) in str(error):
                    raise
                # the raw file is another, which is what a reason is taken to be about
                raise SourceError(f"text file {short_name(name)}: {error}") from error
        if (what := other_than_text(data)) is not None:
            raise SourceError(f"{name} {what}")
        try:
            return data.removeprefix(BOM_UTF8).decode("utf-8")  # a codec that does both takes four times as long
        except UnicodeDecodeError as error:
            raise SourceError(f"{name} is not UTF-8 (byte {error.start}); convert it") from error


def text_pages(text: str, text_from: str) -> list[FoundText]:
    """The pages of a plain text, which form feeds separate."""
    return [_page_text(page, text_from) for page in _split_pages(text)]


def _split_pages(text: str) -> list[str]:
    texts = text.split(PAGE_BREAK)
    if len(texts) > 1 and not texts[-1].strip():
        texts.pop()
    return texts


def _page_text(text: str, text_from: str = TEXT_FILE) -> FoundText:
    return FoundText(text=normalise_text(text), meta={"text_from": text_from})


def _is_file(file: Path) -> bool:
    """Whether a text file is there; a name that no file can have, as the raw file's is so long, is that of none."""
    try:
        return is_raw_file(file)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise SourceError(f"{short_name(file.name)} cannot be read: {error.strerror}") from error
