"""How the rows of a job were read, counted: which fields as what, by file, and which fields were of no use.

Reports say so, since nobody named the fields: a wrong guess has to be seen before it is trained on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wdstream.text.characters import replace_surrogates, short_name
from wdstream.text.not_text import region_in
from wdstream.text.placeholders import MISSING

_FILES_SHOWN = 8
_FIELDS_SHOWN = 30
_HIDDEN, _BARE = "whose name begins with a dot", "without a suffix"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReading:
    """What is to be said of how a row was read.

    Attributes:
        how: which field was read as what.
        unused: fields that became metadata because they are of no other use.
        has_more_answers: whether its question has answers that are not used.
        mark: a placeholder that its text begins with, or a word for a missing value that is all of it, which is trained
            on as text (placeholders.py); or that of `region_mark`.
        strays: names of files in its tar that are in no sample.
    """

    how: str = ""
    unused: tuple[str, ...] = ()
    has_more_answers: bool = False
    mark: str = ""
    strays: tuple[str, ...] = ()


def is_hidden(name: str) -> bool:
    """Whether a file in a tar has a name that begins with a dot; others that are in no sample have no suffix."""
    return name.rpartition("/")[2].startswith(".")


class Strays:
    """Counts of files in tars that are in no sample, by why, with one of their names."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, names: Iterable[str]) -> None:
        """Count some, by their names in the tar."""
        for name in names:
            self._add(_HIDDEN if is_hidden(name) else _BARE, 1, replace_surrogates(name))

    def update(self, others: "Strays") -> None:
        """Add the counts of others."""
        for why, count in others.counts.items():
            self._add(why, count, others.examples[why])

    def _add(self, why: str, count: int, example: str) -> None:
        self.counts[why] += count
        self.examples[why] = min(self.examples.get(why, example), example)

    def __str__(self) -> str:
        """Such as `3 whose name begins with a dot (._a.jpg, say)`; empty for none."""
        counts = sorted(self.counts.items())
        return ", ".join(f"{count:,} {why} ({short_name(self.examples[why])}, say)" for why, count in counts)

    def to_json(self) -> dict[str, object]:
        """As JSON, the same for the same counts."""
        return {why: [count, self.examples[why]] for why, count in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Strays":
        """The inverse of `to_json`."""
        found = cls()
        for why, (count, example) in tree.items():
            found._add(why, int(count), str(example))
        return found


_REGION_MARK = "a box in "
NO_READING = RowReading()
"""Of a page that is not a row."""


class RowReadings:
    """Counts of what was read as what.

    Attributes:
        rows: rows by (file, how they were read).
        unused: rows by a field that is kept as metadata and is of no other use.
        more_answers: rows that have answers which are not used.
        marks: texts by the placeholder that they begin with.
        strays: files in tars that are in no sample.
    """

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str]] = Counter()
        self.unused: Counter[str] = Counter()
        self.more_answers = 0
        self.marks: Counter[str] = Counter()
        self.strays = Strays()

    def add(self, file: str, reading: RowReading) -> None:
        """Count one page of a file."""
        if reading.how:
            self.rows[file, reading.how] += 1
        if reading.unused:
            self.unused.update(reading.unused)
        self.more_answers += reading.has_more_answers
        if reading.mark:
            self.marks[reading.mark] += 1
        self.strays.add(reading.strays)

    def update(self, readings: "RowReadings") -> None:
        """Add the counts of others."""
        self.rows.update(readings.rows)
        self.unused.update(readings.unused)
        self.more_answers += readings.more_answers
        self.marks.update(readings.marks)
        self.strays.update(readings.strays)

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
        if self.strays.counts:
            yield f"files of tars that are in no sample, passed over: {self.strays}"
        for mark, count in self.marks.most_common():
            yield f"warning: {count:,} texts {marked_as_text(mark)}"

    def to_json(self) -> dict[str, object]:
        """As JSON, the same for the same counts."""
        rows = [[file, how, count] for (file, how), count in sorted(self.rows.items())]
        unused = dict(sorted(self.unused.items()))
        marks: dict[str, object] = {"marks": dict(sorted(self.marks.items()))} if self.marks else {}
        more = marks | ({"strays": self.strays.to_json()} if self.strays.counts else {})
        if not rows and not unused:
            return more
        return {"rows": rows, "unused": unused, "more_answers": self.more_answers, **more}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "RowReadings":
        """The inverse of `to_json`."""
        found = cls()
        found.rows.update({(file, how): count for file, how, count in tree.get("rows", [])})
        found.unused.update(tree.get("unused", {}))
        found.more_answers = int(tree.get("more_answers", 0))
        found.marks.update(tree.get("marks", {}))
        found.strays = Strays.from_json(tree.get("strays", {}))
        return found


def region_mark(fields: Mapping[str, object]) -> str:
    """The mark of a text of one image where one of its other fields has a box in that: the text may be of it alone."""
    field = region_in(fields)
    return "" if field is None else _REGION_MARK + field


def marked_as_text(mark: str) -> str:
    """What is said of texts that begin with a placeholder, and whose image is a part of its own; or are a word for a
    missing value; or may be of a place in their image."""
    if mark.startswith(_REGION_MARK):
        field = short_name(mark.removeprefix(_REGION_MARK))
        return (
            f"are trained on as the text of their whole image, and {field!r} has one box in it: if they are of that "
            f"alone, crop the images to it; else make-shards --metadata-field {field} says so"
        )
    if mark in MISSING:
        return (
            f"are {mark} and nothing else, which programs write where a value is missing: leave these rows out, unless "
            "their images show it"
        )
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
