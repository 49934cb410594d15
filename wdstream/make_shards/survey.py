"""The survey: how many pages each raw file has. Files that say it by their kind alone are not opened."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wdstream.errors import PageError
from wdstream.make_shards.build import OnPage
from wdstream.make_shards.jobs import Job, SurveyedFile, Unit
from wdstream.raw.images import count_pages
from wdstream.raw.line_offsets import map_lines
from wdstream.raw.pdf import open_pdf
from wdstream.raw.sources import RawFile

_FILES_A_JOB = 64


def must_be_opened(file: RawFile) -> bool:
    """Whether only the file says how many pages it has. A TIFF is known by its suffix; by any other it is one page."""
    return file.kind != "image" or file.path.lower().endswith((".tif", ".tiff"))


def plan_survey(files: Sequence[RawFile]) -> list[Job]:
    """Jobs that open every file that must be opened."""
    opened = [Unit(file=surveyed(file, 0), first=1, count=1) for file in files if must_be_opened(file)]
    starts = range(0, len(opened), _FILES_A_JOB)
    chunks = [tuple(opened[start : start + _FILES_A_JOB]) for start in starts]
    return [Job(kind="survey", number=n, items=chunk, num_pages=len(chunk)) for n, chunk in enumerate(chunks)]


def survey_files(job: Job, raw: Path, on_page: OnPage) -> list[dict[str, Any]]:
    """Open the files of a survey job; a file that cannot be read has 0 pages and the reason.

    Returns:
        `SurveyedFile`s as JSON, in the job's order.
    """
    skips = {skip.item: skip.reason for skip in job.skips}
    found: list[dict[str, Any]] = []
    for number, unit in enumerate(job.items):
        if number in skips:
            found.append(replace(unit.file, reason=skips[number]).to_json())
            continue
        on_page(number, None)
        found.append(_survey(unit.file, raw / unit.file.path).to_json())
    return found


def surveyed(file: RawFile, num_pages: int) -> SurveyedFile:
    """A file with so many pages."""
    return SurveyedFile(path=file.path, kind=file.kind, stem=file.stem, num_bytes=file.num_bytes, num_pages=num_pages)


def _survey(file: SurveyedFile, path: Path) -> SurveyedFile:
    try:
        if file.kind == "pdf":
            with open_pdf(path) as pdf:
                return replace(file, num_pages=pdf.num_pages)
        if file.kind == "rows":
            lines = map_lines(path)
            return replace(file, num_pages=lines.num_lines, marks=lines.marks)
        return replace(file, num_pages=count_pages(path))
    except PageError as error:
        return replace(file, reason=str(error))
    except OSError as error:
        return replace(file, reason=f"file cannot be read: {error.strerror}")
    except MemoryError:
        return replace(file, reason="needs more memory than a process may use")
