"""info: what is in folders of shards, by their indexes alone. No tar is opened, no text read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.numbers import NumberSummary
from wdstream.curation.refused import LISTS, read_refused
from wdstream.make_shards.reasons import kind_of_reason
from wdstream.shards.index_files import IndexFiles
from wdstream.storage.addresses import shown_url

SOURCE = "source"
"""The metadata that names the raw file of a page."""


@dataclass(slots=True)
class SetFigures:
    """What is counted of a set, such that those of several sets add up.

    Attributes:
        shards, pages, nbytes, images, without_image, without_text, held_out: counts; `nbytes` is of all tars.
        numbers: arrays of what has a size, by name: image_width, image_pixels, text_chars, tokens.FINGERPRINT, ...
        values: how many pages have each value, by name of a metadata column of texts, or of true and false.
        scalars: arrays of a metadata column of numbers, by name.
        absent: how many pages lack a metadata column, by name.
        left_out: why metadata of a name is not a column.
        refused: how many pages or files are listed as not in the set, by list and reason.
    """

    shards: int = 0
    pages: int = 0
    nbytes: int = 0
    images: int = 0
    without_image: int = 0
    without_text: int = 0
    held_out: int = 0
    numbers: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    scalars: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    absent: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in LISTS})

    @classmethod
    def of(cls, files: IndexFiles) -> "SetFigures":
        """Of one index.

        Raises:
            ShardIndexError: a column is not what was written.
            DamagedFileError: a list of what was left out is damaged.
        """
        catalog = files.catalog
        texts, images = files.column("text_chars"), files.column("num_images")
        figures = cls(
            shards=len(catalog.shards),
            pages=catalog.num_samples,
            nbytes=sum(shard.bytes for shard in catalog.shards),
            images=catalog.num_images,
            without_image=_count_zero(images),
            without_text=_count_zero(texts),
            held_out=0 if (held_out := files.held_out()) is None else int(held_out.sum()),
            numbers={name: [array] for name, array in _sizes(files).items()},
            left_out=dict(catalog.metadata.left_out),
        )
        figures._add_metadata(files)
        figures._add_refused(files)
        return figures

    def add(self, other: "SetFigures") -> None:
        """Take in what another set has."""
        for name in ("shards", "pages", "nbytes", "images", "without_image", "without_text", "held_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.numbers, other.numbers), (self.scalars, other.scalars)):
            for name, arrays in theirs.items():
                mine.setdefault(name, []).extend(arrays)
        for counted, added in ((self.values, other.values), (self.refused, other.refused)):
            for name, counts in added.items():
                counted.setdefault(name, Counter()).update(counts)
        self.absent.update(other.absent)
        self.left_out = other.left_out | self.left_out

    def _add_metadata(self, files: IndexFiles) -> None:
        for name, column in files.metadata().items():
            self.absent[name] = column.absent
            if column.has_numbers:
                self.scalars[name] = [column.numbers()]
            else:
                self.values[name] = Counter(column.counts())
        if files.catalog.metadata.unread:
            self.left_out["*"] = files.why_no_metadata("*") or ""

    def _add_refused(self, files: IndexFiles) -> None:
        for name, counts in self.refused.items():
            counts.update(kind_of_reason(page.reason) for page in read_refused(files.storage, name))


def _sizes(files: IndexFiles) -> dict[str, NDArray[Any]]:
    """What has a size, from the columns: of images, of texts, and tokens per tokenizer."""
    widths, heights = files.column("image_width"), files.column("image_height")
    found = {
        "images_per_page": files.column("num_images"),
        "image_width": widths,
        "image_height": heights,
        "image_pixels": widths * heights.astype(np.int64),
        "text_chars": files.column("text_chars"),
    }
    tokens = {f"tokens.{name}": files.tokens(name) for name in files.catalog.token_fingerprints()}
    return found | tokens


def _count_zero(array: NDArray[Any]) -> int:
    return len(array) - int(np.count_nonzero(array))


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInfo:
    """What `wdstream info` says of a set, or of several together.

    Attributes:
        name: of the set.
        path: of its folder, or URL; None of several together.
        figures: counts.
        sizes: summaries of `figures.numbers`.
        scalars: summaries of `figures.scalars`.
    """

    name: str
    path: str | None
    figures: SetFigures
    sizes: Mapping[str, NumberSummary]
    scalars: Mapping[str, NumberSummary]

    @classmethod
    def of(cls, name: str, path: str | None, figures: SetFigures) -> "SetInfo":
        """Summarise the counts of a set."""
        sizes = {each: NumberSummary.of(arrays) for each, arrays in figures.numbers.items()}
        scalars = {each: NumberSummary.of(arrays) for each, arrays in figures.scalars.items()}
        return cls(name=name, path=path, figures=figures, sizes=sizes, scalars=scalars)

    def sources(self) -> dict[str, Counter[str]]:
        """Pages by suffix, top-level folder or file, and file of the raw files; empty where no column names them."""
        found: dict[str, Counter[str]] = {"suffix": Counter(), "top": Counter(), "file": Counter()}
        for source, count in self.figures.values.get(SOURCE, {}).items():
            path = PurePosixPath(source)
            found["suffix"][path.suffix.lower() or "(none)"] += count
            found["top"][path.parts[0] + ("/" if len(path.parts) > 1 else "") if path.parts else "(none)"] += count
            found["file"][source] += count
        return found

    def as_dict(self, *, top: int) -> dict[str, object]:
        """For `--json`: docs/curation.md has the names. Of values at most `top` are listed, the most frequent ones."""
        figures = self.figures
        tokens = {name.partition(".")[2]: size.as_dict() for name, size in self.sizes.items() if "tokens." in name}
        return {
            "name": self.name,
            "path": self.path and shown_url(self.path),
            "shards": figures.shards,
            "pages": figures.pages,
            "bytes": figures.nbytes,
            "images": figures.images,
            "pages_without_image": figures.without_image,
            "pages_without_text": figures.without_text,
            "pages_held_out": figures.held_out,
            **{name: size.as_dict() for name, size in self.sizes.items() if "tokens." not in name},
            "tokens": tokens,
            "sources": {name: counted_values(counts, top) for name, counts in self.sources().items()},
            "metadata": {name: self._column(name, top) for name in sorted(figures.absent)},
            "metadata_left_out": dict(sorted(figures.left_out.items())),
            "refused": {name: counted_values(counts, None) for name, counts in figures.refused.items()},
        }

    def _column(self, name: str, top: int) -> dict[str, object]:
        described: dict[str, object] = {"absent": self.figures.absent[name]}
        if name in self.scalars:
            described["numbers"] = self.scalars[name].as_dict()
        if name in self.figures.values:
            described |= counted_values(self.figures.values[name], top)
        return described


def counted_values(counts: Mapping[str, int], top: int | None) -> dict[str, object]:
    """How many different values there are, and the most frequent ones with their counts; equal ones by name."""
    return {"distinct": len(counts), "values": dict(most_frequent(counts, top))}


def most_frequent(counts: Mapping[str, int], top: int | None) -> list[tuple[str, int]]:
    """The `top` most frequent values, all for None."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoReport:
    """What is in each set, and, where there are several, in all of them together."""

    sets: tuple[SetInfo, ...]
    total: SetInfo

    def as_dict(self, *, top: int) -> dict[str, object]:
        """The object that `--json` prints."""
        return {"datasets": [each.as_dict(top=top) for each in self.sets], "total": self.total.as_dict(top=top)}


def info(paths: Sequence[tuple[str, Path | str]]) -> InfoReport:
    """Look into sets of shards.

    Args:
        paths: name, and folder or URL, of each; a path that comes twice counts once.

    Raises:
        ShardIndexError: there is no index, or a column is not what was written.
    """
    figures = {str(path): SetFigures.of(IndexFiles(path)) for path in dict.fromkeys(path for _, path in paths)}
    names = {str(path): name for name, path in reversed(paths)}
    sets = tuple(SetInfo.of(names[path], path, each) for path, each in figures.items())
    if len(sets) == 1:
        return InfoReport(sets=sets, total=sets[0])
    total = SetFigures()
    for each in figures.values():
        total.add(each)
    return InfoReport(sets=sets, total=SetInfo.of("total", None, total))
