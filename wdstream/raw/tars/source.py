"""Tars as raw files: each sample becomes a page, or, where it is a document, as many pages as that has.

A tar in the raw folder is repacked: its images are decoded once, its texts cleaned, its documents drawn, and its keys
made unique over all tars. Tars that are fine as they are need none of it: `wdstream index` uses them in their place.

    tars/00000.tar, sample "0017"                       tars/00000@0017
    the same, page 3 of its PDF                         tars/00000@0017@0003
    a sample whose name cannot be a key: "à propos"     tars/00000@__propos-1a2b3c4d5e
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from wdstream.errors import PageError, ShardError, SourceError
from wdstream.raw.ocr.untold import text_of_page
from wdstream.raw.reading import limits, lines_digest, note_line, sign_of_life
from wdstream.raw.row_pages import row_rules
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, PageReader, RawFile, Source, StoredPage, require_text
from wdstream.raw.tars.documents import document_part, is_document, open_document
from wdstream.raw.tars.json_pages import PAGES, read_json
from wdstream.raw.tars.sample_pages import page_of_sample
from wdstream.raw.tars.samples import RawSample
from wdstream.raw.tars.survey import Mark, Marks, PassedOver, survey_tar
from wdstream.raw.tars.tar_file import TarFile, open_tar
from wdstream.shards.layout import JSON_EXTENSION, TAR_SUFFIX
from wdstream.storage.compression import STREAMED_SUFFIXES
from wdstream.text.characters import replace_surrogates, short_name

_UNSAFE = re.compile(r"[^A-Za-z0-9_/-]")
_LIKE_A_PAGE = re.compile(r".*/\d+")
_MAX_NAME = 75
"""Characters of the last part of a key: a tar header holds 100, and the page and the extension come after."""
_HASH = 11
_FOLDERS = "@"
"""For the slashes of a sample's own key, since folders of keys are those of raw files."""


class TarSource(Source):
    """Tars of samples, plain or compressed."""

    kind = "tar"
    suffixes = (TAR_SUFFIX, *STREAMED_SUFFIXES)
    least_page_bytes = 1 << 15

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of pages, and marks to find them by."""
        return survey_tar(path, limits())

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["_TarReader"]:
        """Open the tar; it is read from the mark before the first page on."""
        with open_tar(path) as tar, ExitStack() as document:
            yield _TarReader(_Samples(tar, pages.file, settings), path, settings, document)

    def rows_digest(self, pages: PageRange, path: Path) -> str | None:
        """The digest of the samples of a range."""
        with open_tar(path) as tar:
            samples = _Samples(tar, pages.file, limits())
            return lines_digest(samples.contents(pages.numbers))


class _Samples:
    """The samples of a tar by the numbers of their pages, asked for in rising order."""

    def __init__(self, tar: TarFile, file: RawFile, settings: RawSettings) -> None:
        self.file = file
        self._tar = tar
        self._settings = settings
        self._marks = Marks(file.marks)
        self._samples: Iterator[RawSample] | None = None
        self._next = 0
        self._held: RawSample | None = None

    def of_page(self, number: int) -> tuple[RawSample, Mark]:
        """The sample that page `number` is of, and its mark.

        Raises:
            SourceError: the tar is damaged before, or there.
        """
        mark = self._marks.before(number)
        after = number - mark.first - mark.num_pages + 1  # samples of one page each, after that of the mark
        if after > 0:
            mark = Mark(number, mark.ordinal + after, mark.offset, 1, PassedOver.NO)
        try:
            if self._samples is None or (self._tar.is_plain and after <= 0 and mark.ordinal > self._next):
                self._go_to(self._marks.before(number))
            return self._advanced(mark.ordinal), mark
        except ShardError as error:
            raise SourceError(f"the tar is damaged before this sample, or in it: {error}") from error

    def contents(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """What each page was made from, in short, by number; of the pages of one document it is the same."""
        held, content = None, b""
        for number in numbers:
            sample, _mark = self.of_page(number)
            if sample is not held:
                held, content = sample, _digest(sample)
            yield number, content

    def _go_to(self, mark: Mark) -> None:
        start = mark.offset if mark.ordinal else 0  # with what is before the first sample
        self._samples = self._tar.go_to(start).samples(self._settings.key_rule)
        self._next = mark.ordinal

    def _advanced(self, ordinal: int) -> RawSample:
        """The sample at this place."""
        assert self._samples is not None
        while self._next <= ordinal:
            self._held = next(self._samples, None)
            sign_of_life()
            if self._held is None:
                self._tar.check_end()
                raise SourceError(
                    f"the tar ends before sample {ordinal + 1}; it was cut after its samples were counted"
                )
            self._next += 1
        assert self._held is not None, "pages are asked for in rising order"
        return self._held


class _TarReader:
    """Samples as pages. A document stays open, in `document`, while its pages are read."""

    def __init__(self, samples: _Samples, path: Path, settings: RawSettings, document: ExitStack) -> None:
        self._samples = samples
        self._path = path
        self._settings = settings
        self._rules = row_rules(settings)
        self._document = document
        self._open_at = -1
        self._pages: PageReader | None = None
        self._content = b""
        self._fields: Mapping[str, object] = {}
        self._trouble = ""

    def read(self, number: int) -> StoredPage:
        sample, mark = self._samples.of_page(number)
        try:
            if mark.ordinal != self._open_at:
                self._open(sample, mark)
            note_line(self._path, number, self._content)
            if self._trouble:
                raise SourceError(self._trouble)
            if self._pages is None:
                stored = self._page(sample)
            else:
                stored = self._document_page(self._pages, number - mark.first + 1, sample)
            if sample.strays and number == mark.first:
                names = tuple(stray.name for stray in sample.strays)
                return replace(stored, reading=replace(stored.reading, strays=names))
            return stored
        except PageError as error:
            shown, reason = f"sample {short_name(sample.key)!r}: ", str(error)
            is_named = reason.startswith((f"sample {sample.key!r}", f"row {sample.key!r}"))
            raise SourceError(reason if is_named else f"{shown}{reason}") from error

    def _open(self, sample: RawSample, mark: Mark) -> None:
        """Note a sample; where it is a document, open it. What is wrong with it is so of each of its pages."""
        self._document.close()
        self._open_at = -1  # until it is open
        self._pages, self._fields, self._content = None, {}, _digest(sample)
        self._trouble = sample.fault or PassedOver(mark.left_out).reason
        try:
            if not self._trouble:
                self._open_document(sample, mark)
        except PageError as error:
            self._trouble = str(error)
        self._open_at = mark.ordinal

    def _open_document(self, sample: RawSample, mark: Mark) -> None:
        part = document_part(sample.members, self._settings)
        if part is None or not is_document(sample.members, mark.num_pages):
            return
        file = self._samples.file._replace(
            stem=self._key(sample), num_bytes=len(sample.members[part]), num_pages=mark.num_pages
        )
        fields = read_json(sample.members.get(JSON_EXTENSION, b""))  # once for all pages: they may be thousands
        self._fields = {name: value for name, value in fields.items() if name != PAGES}
        self._pages = self._document.enter_context(open_document(sample.members, file, self._settings))

    def _key(self, sample: RawSample) -> str:
        return sample_key(self._samples.file.stem, sample.key)

    def _page(self, sample: RawSample) -> StoredPage:
        """A page of one image, or a row."""
        stored = page_of_sample(sample.key, sample.members, self._settings, self._rules)
        meta = {**self._origin(sample), **stored.page.meta}
        return replace(stored, page=replace(stored.page, key=self._key(sample), meta=meta))

    def _document_page(self, pages: PageReader, number: int, sample: RawSample) -> StoredPage:
        """Page `number` of the document of a sample."""
        stored = pages.read(number)
        assert stored is not None, "documents have no blank lines"
        require_text(text_of_page(stored.page), "its sample says that the page has none", self._settings)
        meta = {**self._fields, **stored.page.meta, **self._origin(sample)}
        return replace(stored, page=replace(stored.page, meta=meta))

    def _origin(self, sample: RawSample) -> dict[str, object]:
        """Where a sample is from."""
        return {"source": replace_surrogates(self._samples.file.path), "sample": replace_surrogates(sample.key)}


def sample_key(stem: str, key: str) -> str:
    """The key of a sample: unique in its tar, and safe as a key, where `stem` is the tar's."""
    name = _UNSAFE.sub("_", key).replace("/", _FOLDERS)
    room = _MAX_NAME - len(stem.rpartition("/")[2]) - 1
    if _UNSAFE.search(key) or len(name) > room or _LIKE_A_PAGE.fullmatch(key):
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
        name = f"{name[: max(0, room - _HASH)]}-{digest}"
    return f"{stem}@{name}"


def _digest(sample: RawSample) -> bytes:
    """What a page of a sample was made from, in short."""
    content = hashlib.blake2b(sample.key.encode("utf-8", "surrogatepass"), digest_size=16)
    for name, data in sample.members.items():
        content.update(b"%s %d " % (name.encode("utf-8", "surrogatepass"), len(data)))
        content.update(data)
    return content.digest()
