"""The texts of one raw file, page by page, from whichever files the listing found for it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from wdstream.errors import SourceError
from wdstream.raw.reading import limits, read_bytes
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import RawFile, split_suffix
from wdstream.raw.texts.finder import folder_to_name
from wdstream.raw.texts.formats import format_of, read_markup
from wdstream.raw.texts.marked_up import html_pages, markdown_pages
from wdstream.raw.texts.names import TextName, owners, plain_reading, readings
from wdstream.raw.texts.page_text import FoundText
from wdstream.raw.texts.sidecar import Sidecars, text_pages
from wdstream.raw.texts.tree import decode_text
from wdstream.text.characters import replace_surrogates, short_name
from wdstream.text.not_text import other_than_text

_PLAIN = {"txt": "text file", "gt.txt": "ground truth"}


class FileTexts:
    """The texts of one raw file. A file with texts is opened when it is asked for its first page.

    Args:
        path: where the raw file is.
        file: as it is listed, with the texts that were found for it.
        suffixes: of its source.
        settings: how texts are read.
    """

    def __init__(self, path: Path, file: RawFile, suffixes: tuple[str, ...], settings: RawSettings) -> None:
        self._file = file
        self._path = path
        self._settings = settings
        self._sidecars = Sidecars(path, suffixes, file.num_pages, file.sidecars)
        self._names = (_by_page(file.texts, path.name, suffixes) or _whole(file.texts)) if file.texts else {}
        self._pages: list[FoundText] = []

    def text(self, number: int) -> FoundText | None:
        """The text of page `number`, from 1; None where no file gives one.

        Raises:
            SourceError: a file is damaged, too large, of no known format, or has not one text for each page.
        """
        if self._settings.document_text == "layer" and self._file.kind == "pdf":
            return None
        if not self._names:
            return self._sidecars.text(number)
        found = self._names.get(number)
        if found is not None:
            return self._read(*found, num_pages=1)[0]
        whole = self._names.get(0)
        if whole is None:
            return None
        self._pages = self._pages or self._read(*whole, num_pages=self._file.num_pages)
        return self._pages[number - 1]

    def absence(self) -> str:
        """Where a text was looked for, and where one is."""
        if self._names:
            return f"{', '.join(short_name(path) for path, _ in [*self._names.values()][:3])} has none"
        if self._file.sidecars:
            return f"{', '.join(map(short_name, self._file.sidecars[:3]))} has none"
        return f"no text file beside it{text_elsewhere(self._file)}"

    def _read(self, path: str, name: TextName, *, num_pages: int) -> list[FoundText]:
        """All pages of a text file.

        Raises:
            SourceError: it cannot be read, or holds the text of another number of pages.
        """
        try:
            root = self._path.parents[len(PurePosixPath(self._file.path).parts) - 1]
            data = read_bytes(root / path, limit=limits().max_text_bytes, option="--max-text-bytes")
            pages = self._parse(data, name)
        except SourceError as error:
            raise SourceError(f"{error}; in the text file {short_name(path)}") from error
        if len(pages) != num_pages:
            raise SourceError(_miscount(path, len(pages), self._file.path, num_pages))
        return [replace(page, meta={**page.meta, "text_file": replace_surrogates(path)}) for page in pages]

    def _parse(self, data: bytes, name: TextName) -> list[FoundText]:
        if name.form in _PLAIN:
            return text_pages(_utf8(data), _PLAIN[name.form])
        if name.form == "md":
            return markdown_pages(_utf8(data))
        if format_of(data)[0] == "html":
            return html_pages(decode_text(data))
        return read_markup(data, join_hyphens=self._settings.join_hyphens)


def text_elsewhere(file: RawFile) -> str:
    """Where a text of a raw file's name is, though none is looked for there, in words after a reason."""
    if file.near is None:
        return ""
    path, near = PurePosixPath(file.path), PurePosixPath(file.near)
    called = owners(path.name, path.name.removesuffix(path.suffix))
    if path.parent == near.parent and not any(reading.owner in called for reading in readings(near.name)):
        return f"; {short_name(file.near)} is there, whose name differs in case or Unicode form: rename it"
    folder = folder_to_name(file.path[: file.path.rfind("/") + 1], file.near)
    advice = f": --text-from {short_name(folder)}" if folder else ", where it is not looked for"
    return f"; {short_name(file.near)} is there{advice}"


def _utf8(data: bytes) -> str:
    if (what := other_than_text(data)) is not None:
        raise SourceError(f"text {what}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"text is not UTF-8 (byte {error.start}); convert it") from error


def _by_page(texts: tuple[str, ...], name: str, suffixes: tuple[str, ...]) -> Mapping[int, tuple[str, TextName]]:
    """The text files of the file `name` by their page, 0 for that of all pages, each with the reading of its name."""
    names = owners(name, (split_suffix(name, suffixes) or (name, ""))[0])
    found: dict[int, tuple[str, TextName]] = {}
    for path in texts:
        for reading in readings(PurePosixPath(path).name):
            if reading.owner in names:
                found.setdefault(reading.page or 0, (path, reading))
                break
    return found


def _whole(texts: tuple[str, ...]) -> Mapping[int, tuple[str, TextName]]:
    """A text that has another name than its page, as METS names it: it is that of all pages."""
    return {0: (texts[0], plain_reading(PurePosixPath(texts[0]).name))} if texts else {}


def _miscount(text: str, num_texts: int, file: str, num_pages: int) -> str:
    shown, of = short_name(text), short_name(PurePosixPath(file).name)
    return (
        f"text file holds {num_texts} pages, {of} has {num_pages}: {shown} cannot be matched to pages; write one text "
        "for each page, put marks between them (docs/texts.md), or take a PDF's own text with --document-text layer"
    )
