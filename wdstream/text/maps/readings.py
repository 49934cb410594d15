"""How the rows of a job were read, counted: which fields as what, by file, and which fields were of no use.

Reports say so, since nobody named the fields: a wrong guess has to be seen before it is trained on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wdstream.text.characters import short_name

_FILES_SHOWN = 8
_FIELDS_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReading:
    """What is to be said of how a row was read.

    Attributes:
        how: which field was read as what.
        unused: fields that became metadata because they are of no other use.
        has_more_answers: whether its question has answers that are not used.
        mark: a placeholder that its text begins with, and which is trained on as text (placeholders.py).
    """

    how: str = ""
    unused: tuple[str, ...] = ()
    has_more_answers: bool = False
    mark: str = ""


class RowReadings:
    """Counts of what was read as what.

    Attributes:
        rows: rows by (file, how they were read).
        unused: rows by a field that is kept as metadata and is of no other use.
        more_answers: rows that have answers which are not used.
        marks: texts by the placeholder that they begin with.
    """

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str]] = Counter()
        self.unused: Counter[str] = Counter()
        self.more_answers = 0
        self.marks: Counter[str] = Counter()

    def add(self, file: str, reading: RowReading) -> None:
        """Count one page of a file."""
        if reading.how:
            self.rows[file, reading.how] += 1
        if reading.unused:
            self.unused.update(reading.unused)
        self.more_answers += reading.has_more_answers
        if reading.mark:
            self.marks[reading.mark] += 1

    def update(self, readings: "RowReadings") -> None:
        """Add the counts of others."""
        self.rows.update(readings.rows)
        self.unused.update(readings.unused)
        self.more_answers += readings.more_answers
        self.marks.update(readings.marks)

    def lines(self) -> Iterator[str]:
        """What a report says of them."""
        by_how: dict[str, dict[str, int]] = {}
        for (file, how), count in sorted(self.rows.items()):
            by_how.setdefault(how, {})[file] = count
        for how, files in by_how.items():
            count = sum(files.values())
            yield f"{_shown_files(files)}: {f'{count:,} rows are' if count > 1 else '1 row is'} read as {how}"
        if self.unused:
            yield f"not used, kept as metadata: {shown_counts(self.unused)}"
        if self.more_answers:
            rows = "1 row has" if self.more_answers == 1 else f"{self.more_answers:,} rows have"
            yield f"{rows} several answers, of which the first is used (--answers)"
        for mark, count in self.marks.most_common():
            yield f"warning: {count:,} texts {marked_as_text(mark)}"

    def to_json(self) -> dict[str, object]:
        """As JSON, the same for the same counts."""
        rows = [[file, how, count] for (file, how), count in sorted(self.rows.items())]
        unused = dict(sorted(self.unused.items()))
        marks: dict[str, object] = {"marks": dict(sorted(self.marks.items()))} if self.marks else {}
        if not rows and not unused:
            return marks
        return {"rows": rows, "unused": unused, "more_answers": self.more_answers, **marks}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "RowReadings":
        """The inverse of `to_json`."""
        found = cls()
        found.rows.update({(file, how): count for file, how, count in tree.get("rows", [])})
        found.unused.update(tree.get("unused", {}))
        found.more_answers = int(tree.get("more_answers", 0))
        found.marks.update(tree.get("marks", {}))
        return found


def marked_as_text(mark: str) -> str:
    """What is said of texts that begin with a placeholder, and whose image is a part of its own."""
    return (
        f"begin with {mark}, which stands for an image elsewhere; here the image is a part of its own, and the mark is "
        "trained on as text: take it out of the texts"
    )


def shown_counts(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{short_name(name)} ({count:,})" for name, count in ordered[:_FIELDS_SHOWN])
    return shown if len(ordered) <= _FIELDS_SHOWN else f"{shown}, and {len(ordered) - _FIELDS_SHOWN:,} more"


def _shown_files(files: Mapping[str, int]) -> str:
    shown = ", ".join(map(short_name, [*files][:_FILES_SHOWN]))
    return shown if len(files) <= _FILES_SHOWN else f"{shown}, and {len(files) - _FILES_SHOWN:,} more files"
