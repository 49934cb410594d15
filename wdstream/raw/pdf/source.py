"""PDFs as raw files.

What reads their pages is imported where a PDF is opened: it is a third of what a process of make-shards would import,
and folders of scans have no PDF.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import SourceError
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, Source

if TYPE_CHECKING:
    from wdstream.raw.pdf.pages import PdfReader


class PdfSource(Source):
    """PDFs, also those compressed as `.pdf.gz`."""

    kind = "pdf"
    suffixes = (".pdf", ".pdf.gz")
    takes_sidecar = True

    def check_installed(self) -> None:
        """Check that pypdfium2 is installed."""
        from wdstream.raw.pdf.document import import_pdfium

        import_pdfium()

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of pages."""
        from wdstream.raw.pdf.document import count_pdf_pages

        return count_pdf_pages(path), ()

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["PdfReader"]:
        """Open the document; its pages are found by number."""
        from wdstream.raw.pdf.document import open_pdf
        from wdstream.raw.pdf.pages import PdfReader
        from wdstream.raw.texts.file_texts import FileTexts

        with open_pdf(path) as pdf:
            if pdf.num_pages != pages.file.num_pages:
                raise SourceError(f"had {pages.file.num_pages} pages when the job was planned, now {pdf.num_pages}")
            yield PdfReader(pdf, pages.file, FileTexts(path, pages.file, self.suffixes, settings), settings)
