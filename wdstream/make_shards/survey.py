"""The survey: how many pages each raw file has. Files that say it by their kind alone are not opened."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wdstream.errors import PageError
from wdstream.make_shards.build import OnPage
from wdstream.make_shards.images import count_pages
from wdstream.make_shards.jobs import Job, SurveyedFile
from wdstream.pages.lines import map_lines
from wdstream.pages.pdf import open_pdf
from wdstream.pages.sources import RawFile

_FILES_A_JOB = 64


def must_be_opened(file: RawFile) -> bool:
    """Whether the number of pages stands in the file; a TIFF is known by its suffix here, and one named otherwise
    gives its first page."""
    return file.kind != "image" or file.path.lower().endswith((".tif", ".tiff"))


def plan_survey(files: Sequence[RawFile]) -> list[Job]:
    """Jobs that open every file that must be opened."""
    opened = [file for file in files if must_be_opened(file)]
    return [
        Job(
            kind="survey",
            number=start // _FILES_A_JOB,
            items=tuple(
                {"path": file.path, "kind": file.kind, "stem": file.stem, "num_bytes": file.num_bytes}
                for file in opened[start : start + _FILES_A_JOB]
            ),
            num_pages=len(opened[start : start + _FILES_A_JOB]),
        )
        for start in range(0, len(opened), _FILES_A_JOB)
    ]


def survey_files(job: Job, raw: Path, on_page: OnPage) -> list[dict[str, Any]]:
    """Open the files of a survey job; a file that cannot be read has 0 pages and the reason.

    Returns:
        `SurveyedFile`s as JSON, in the job's order.
    """
    skips = {skip.item: skip.reason for skip in job.skips}
    return [_survey(number, tree, raw, skips, on_page).to_json() for number, tree in enumerate(job.items)]


def surveyed(file: RawFile) -> SurveyedFile:
    """The survey of a file that need not be opened."""
    return SurveyedFile(path=file.path, kind=file.kind, stem=file.stem, num_bytes=file.num_bytes, num_pages=1)


def _survey(number: int, tree: Any, raw: Path, skips: dict[int, str], on_page: OnPage) -> SurveyedFile:
    if number in skips:
        return SurveyedFile(**tree, num_pages=0, reason=skips[number])
    on_page(number, None)
    path = raw / tree["path"]
    try:
        if tree["kind"] == "pdf":
            with open_pdf(path) as pdf:
                return SurveyedFile(**tree, num_pages=pdf.num_pages)
        if tree["kind"] == "rows":
            lines = map_lines(path)
            return SurveyedFile(**tree, num_pages=lines.num_lines, marks=lines.marks)
        return SurveyedFile(**tree, num_pages=count_pages(path))
    except PageError as error:
        return SurveyedFile(**tree, num_pages=0, reason=str(error))
    except OSError as error:
        return SurveyedFile(**tree, num_pages=0, reason=f"file cannot be read: {error.strerror}")
    except MemoryError:
        return SurveyedFile(**tree, num_pages=0, reason="needs more memory than a process may use")
