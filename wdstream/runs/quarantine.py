"""Pages that failed at run time: each is listed once, counted, and too many of them stop the run.

Such a page kept its slot in its pack (same tokens, blank tiles, labels masked), so nothing else changed.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from wdstream.errors import TrainError
from wdstream.records import Failure
from wdstream.runs.layout import page_line, read_listed
from wdstream.storage.json_lines import LineFile

NUM_NEWEST = 10


def allowed_failures(num_pages: int, max_bad_fraction: float) -> float:
    """How many of `num_pages` may fail: the share, and what chance adds to it (three standard deviations).

    So one bad page among the first ten does not stop a run that allows 1 %, but ten among the first hundred do.
    """
    expected = max_bad_fraction * num_pages
    return expected + 3.0 * math.sqrt(expected)


class PageList:
    """A list of pages and why they are in it, each once, on the main process.

    Args:
        path: the list; pages already in it are not listed again.

    Attributes:
        before: the pages listed at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = LineFile(path)
        lines = read_listed(path)
        self.before = tuple(Failure(key=line["key"], sample=line["sample"], reason=line["reason"]) for line in lines)
        self._known = {page.key for page in self.before}

    def __len__(self) -> int:
        """Pages listed."""
        return len(self._known)

    def add(self, failures: Iterable[Failure], *, step: int) -> None:
        """List the pages of a step that are not listed yet."""
        for failure in failures:
            if failure.key not in self._known:
                self._known.add(failure.key)
                self._file.append(page_line(failure, step=step))


class Quarantine(PageList):
    """The failed pages of a run; a resumed run does not read them again.

    Args:
        path: see PageList.
        max_bad_fraction: share of pages that may fail.
    """

    def __init__(self, path: Path, *, max_bad_fraction: float) -> None:
        super().__init__(path)
        self._max_bad_fraction = max_bad_fraction

    def check(self, num_pages: int) -> None:
        """Stop the run when more of `num_pages` trained pages failed than allowed.

        Raises:
            TrainError: too many failed; names the newest and the list.
        """
        if len(self) <= allowed_failures(num_pages, self._max_bad_fraction):
            return
        newest = [f"  {line['key']}: {line['reason']}" for line in read_listed(self._path)][-NUM_NEWEST:]
        raise TrainError(
            f"{len(self)} of {num_pages} pages failed, more than data.max_bad_fraction {self._max_bad_fraction} "
            f"allows; all are listed in {self._path}, the newest:\n" + "\n".join(newest)
        )
