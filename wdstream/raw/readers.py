"""One raw page after the other as a sample: PDF pages, image files, JSONL rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wdstream.errors import PageError, RowError, SourceError
from wdstream.make_shards.jobs import Unit
from wdstream.raw.images import StoredImage, TiffPages, open_tiff, read_file, store_image
from wdstream.raw.keys import page_key, row_key
from wdstream.raw.line_offsets import MAX_LINE_BYTES, read_lines
from wdstream.raw.options import MakeShardsOptions
from wdstream.raw.pdf import PdfFile, open_pdf
from wdstream.raw.rows import parse_row, resolve_image
from wdstream.raw.sidecar import Sidecars
from wdstream.records import ImageSegment, Page, Size, TextSegment
from wdstream.text.characters import normalise_text, replace_surrogates, unreadable_share


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSample:
    """A page ready for a shard, with extension and (width, height) of each of its images."""

    page: Page
    extensions: tuple[str, ...]
    sizes: tuple[Size, ...]


class Reader(Protocol):
    """Reads the pages of one unit, asked for in rising order."""

    def read(self, number: int) -> RawSample | None:
        """Page or line `number`, from 1; None for a blank line.

        Raises:
            PageError: it cannot become a sample.
        """


@contextmanager
def open_reader(unit: Unit, raw: Path, options: MakeShardsOptions) -> Iterator[Reader]:
    """Open a unit's file for the block.

    Raises:
        PageError: the file as a whole cannot be read.
    """
    path = raw / unit.file.path
    if unit.file.kind == "pdf":
        with open_pdf(path) as pdf:
            if pdf.num_pages != unit.file.num_pages:
                raise SourceError(f"had {unit.file.num_pages} pages when the job was planned, now {pdf.num_pages}")
            yield _PdfReader(pdf, unit, path, options)
    elif unit.file.kind == "rows":
        yield _RowReader(unit, path, options)
    elif unit.file.num_pages > 1:
        with open_tiff(path, options) as tiff:
            yield _ImageReader(tiff, unit, path, options)
    else:
        yield _ImageReader(None, unit, path, options)


class _PdfReader:
    def __init__(self, pdf: PdfFile, unit: Unit, path: Path, options: MakeShardsOptions) -> None:
        self._pdf = pdf
        self._file = unit.file
        self._options = options
        self._sidecars = Sidecars(path, unit.file.num_pages)

    def read(self, number: int) -> RawSample:
        options = self._options
        with self._pdf.page(number) as page:
            page.pixel_size(options.dpi, options.max_pixels)
            beside = self._sidecars.text(number)
            text = self._clean(page.text()) if beside is None else beside
            _require_text(text, "neither a text layer nor a text file beside it", options)
            image = page.render(dpi=options.dpi, jpeg_quality=options.jpeg_quality, max_pixels=options.max_pixels)
        stored = StoredImage(data=image.jpeg, extension="jpg", size=image.size)
        text_from = "text layer" if beside is None else "text file"
        meta = {"source": replace_surrogates(self._file.path), "page": number, "text_from": text_from}
        return _page_sample(page_key(self._file.stem, number), stored, text, meta)

    def _clean(self, text: str) -> str:
        share = unreadable_share(text)
        if share > self._options.max_unreadable:
            raise SourceError(
                f"text layer is not text: {share:.1%} of its characters mean nothing in Unicode (limit "
                f"{self._options.max_unreadable:.1%}); put a text file beside the PDF"
            )
        return normalise_text(text)


class _ImageReader:
    def __init__(self, tiff: TiffPages | None, unit: Unit, path: Path, options: MakeShardsOptions) -> None:
        self._tiff = tiff
        self._file = unit.file
        self._path = path
        self._options = options
        self._sidecars = Sidecars(path, unit.file.num_pages)

    def read(self, number: int) -> RawSample:
        text = self._sidecars.text(number) or ""
        _require_text(text, "no text file beside it", self._options)
        meta: dict[str, object] = {"source": replace_surrogates(self._file.path)}
        if self._tiff is None:
            return _page_sample(self._file.stem, store_image(read_file(self._path), self._options), text, meta)
        return _page_sample(page_key(self._file.stem, number), self._tiff.page(number), text, meta | {"page": number})


class _RowReader:
    def __init__(self, unit: Unit, path: Path, options: MakeShardsOptions) -> None:
        self._file = unit.file
        self._folder = path.parent
        self._options = options
        self._lines = read_lines(path, unit.file.line_map, unit.first, unit.count)

    def read(self, number: int) -> RawSample | None:
        line = self._line(number)
        if line is None:
            raise RowError(f"line is above the limit of {MAX_LINE_BYTES} bytes")
        if not line.strip():
            return None
        row = parse_row(line, self._options.placeholder, self._options.chat_loss)
        text = "".join(segment.text for segment in row.segments if isinstance(segment, TextSegment))
        _require_text(text, "the row holds none", self._options)
        images = [self._image(name) for name in row.image_names]
        meta = {"source": replace_surrogates(self._file.path), "line": number, **row.meta}
        page = Page(
            key=row_key(self._file.stem, number),
            images=tuple(image.data for image in images),
            segments=row.segments,
            meta=meta,
        )
        extensions = tuple(image.extension for image in images)
        return RawSample(page=page, extensions=extensions, sizes=tuple(image.size for image in images))

    def _line(self, number: int) -> bytes | None:
        try:
            return next(line for at, line in self._lines if at == number)
        except OSError as error:
            raise SourceError(f"file cannot be read: {error.strerror}") from error

    def _image(self, name: str) -> StoredImage:
        path = resolve_image(self._folder, name, allow_outside=self._options.allow_outside_images)
        try:
            return store_image(read_file(path), self._options)
        except PageError as error:
            raise RowError(f"image {name!r}: {error}") from error


def _require_text(text: str, where: str, options: MakeShardsOptions) -> None:
    if not options.keep_empty and not text.strip():
        raise SourceError(f"no text: {where}")


def _page_sample(key: str, image: StoredImage, text: str, meta: dict[str, object]) -> RawSample:
    segments = (ImageSegment(index=0), TextSegment(text=text)) if text else (ImageSegment(index=0),)
    page = Page(key=key, images=(image.data,), segments=segments, meta=meta)
    return RawSample(page=page, extensions=(image.extension,), sizes=(image.size,))
