"""run losses: the pages of a run by their loss, the worst first; or groups of them: by page, dataset or metadata.

A high loss points at a page whose text is not what its picture shows, or that is hard to read; what is far above the
rest is worth a look. Keys and metadata are those of the plan, or of pages.jsonl for tars without an index.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wdstream.config.build import plan_from_config
from wdstream.errors import ConfigError, TrainError
from wdstream.pipeline.planned import Plan
from wdstream.plan.metadata_columns import metadata_by_name, values_of
from wdstream.records import Ints
from wdstream.runs.layout import PagesLine
from wdstream.runs.losses import LossRows, join_rows, read_losses
from wdstream.runs.page_trace import refuse_changed
from wdstream.runs.record import RunFolder, read_run

BY_PAGE, BY_DATASET = "page", "dataset"
_ABSENT = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLine:
    """A line of the report.

    Attributes:
        name: the key of a page, or what a group is called.
        dataset: of the page; "" for a group that may be of several.
        step: in which the page was trained; None for a group.
        pages: documents that it is the mean of; a page of three epochs counts three times.
        tokens: supervised ones.
        loss: mean over them.
    """

    name: str
    dataset: str
    step: int | None
    pages: int
    tokens: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossReport:
    """The lines, by falling loss; `by` is what groups are of, None for single documents."""

    by: str | None
    lines: tuple[LossLine, ...]
    num_rows: int


def report_losses(
    output: Path,
    *,
    first: int = 0,
    last: int | None = None,
    worst: int | None = 20,
    by: str | None = None,
    least: int = 1,
) -> LossReport:
    """The worst pages or groups of steps `first` to `last` of a run.

    Args:
        output: of the run.
        first, last: steps; None: to the end.
        worst: lines; None: all.
        by: None for each document of each step; `page`, `dataset`, or a name of metadata.
        least: supervised tokens that a line has at least, since a mean over few says little.

    Raises:
        TrainError: no run in the folder, or it recorded no losses of these steps.
        ConfigError: no page has metadata of this name.
        PlanError: the plan is not that of the run any more.
    """
    folder = read_run(output)
    if not folder.files.losses.exists():
        raise TrainError(
            f"{output}: no losses of pages are recorded in {folder.files.losses}; they are in runs with "
            "train.record_losses: true, written every 64 steps and with each checkpoint"
        )
    pages = _planned(folder) if folder.config.data.streaming is None else _Listed(folder)
    found = (rows for rows in read_losses(folder.files, first=first, last=last) if len(rows))
    if (oldest := next(found, None)) is None:
        raise TrainError(f"{folder.files.losses}: no whole losses of these steps are in it")
    blocks = chain([oldest], found)
    if by is None:
        return _single(pages, blocks, worst, least)
    return _grouped(pages, blocks, by, worst, least)


class _Listed:
    """Names of pages of tars without an index."""

    datasets: tuple[str, ...] = ("tars",)

    def __init__(self, folder: RunFolder) -> None:
        self._files = folder.files
        self._lines = folder.files.read_all_pages()
        self._codes: dict[str, int] = {}

    def keys(self, rows: LossRows) -> list[str]:
        """The key of each row's page, of any steps."""
        return self._keys_in(self._files.read_all_pages(), rows)

    def _keys_in(self, lines: Iterator[PagesLine], rows: LossRows) -> list[str]:
        """By lines that are read no further than is needed.

        Raises:
            TrainError: they lack a step, because their end was damaged.
        """
        steps = set(rows.step.tolist())
        packs: dict[int, list[str]] = {}
        while steps and (line := next(lines, None)) is not None:
            if line["step"] in steps:
                steps.remove(line["step"])
                packs |= {int(pack): keys for pack, keys in line["packs"].items()}
        if steps:
            raise TrainError(f"{self._files.pages}: the keys of step {min(steps)} are missing, its end was damaged")
        return [packs[pack][slot] for pack, slot in zip(rows.pack.tolist(), rows.slot.tolist(), strict=True)]

    def codes(self, rows: LossRows, by: str) -> Ints:
        """A number for the group of each row."""
        if by == BY_DATASET:
            return rows.dataset.astype(np.int64)
        if by != BY_PAGE:
            raise ConfigError(f"--by {by}: tars without an index have no metadata; give page or dataset")
        return _coded(self._keys_in(self._lines, rows), self._codes)  # blocks come in the order of steps

    def names(self, codes: list[int], by: str) -> list[str]:
        """What the groups of these numbers are called."""
        known = self.datasets if by == BY_DATASET else tuple(self._codes)
        return [known[code] for code in codes]


class _Planned:
    """Names and metadata of the pages of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.datasets = tuple(dataset.name for dataset in plan.datasets)
        self._codes: dict[str, int] = {}

    def keys(self, rows: LossRows) -> list[str]:
        """The key of each row's page."""
        return [self._plan.key(sample) for sample in rows.sample.tolist()]

    def codes(self, rows: LossRows, by: str) -> Ints:
        """A number for the group of each row."""
        pages = rows.sample % self._plan.mixture.num_samples
        if by == BY_PAGE:
            return pages
        if by == BY_DATASET:
            return rows.dataset.astype(np.int64)
        return _coded(self._metadata(pages, rows.dataset, by), self._codes)

    def names(self, codes: list[int], by: str) -> list[str]:
        """What the groups of these numbers are called."""
        if by == BY_PAGE:
            return [self._plan.key(page) for page in codes]
        known = self.datasets if by == BY_DATASET else tuple(self._codes)
        return [known[code] for code in codes]

    def _metadata(self, pages: Ints, datasets: NDArray[np.int32], name: str) -> list[str]:
        known = {name for dataset in self._plan.datasets for name in metadata_by_name(dataset.columns)}
        if name not in known:
            there = ", ".join(sorted({BY_PAGE, BY_DATASET, *known}))
            raise ConfigError(f"--by {name}: no page has metadata of this name; there are {there}")
        found = [_ABSENT] * len(pages)
        for number in set(datasets.tolist()):
            places = np.flatnonzero(datasets == number)
            rows = pages[places] - int(self._plan.mixture.offsets[number])
            values = values_of(self._plan.datasets[number].columns, [name], rows)[name]
            for place, value in zip(places.tolist(), np.ma.masked_array(values), strict=True):
                found[place] = _ABSENT if value is np.ma.masked else str(value)
        return found


_Pages = _Listed | _Planned


def _planned(folder: RunFolder) -> _Planned:
    plan = plan_from_config(folder.config)
    refuse_changed(plan, folder)
    return _Planned(plan)


def _coded(names: list[str], codes: dict[str, int]) -> Ints:
    """Numbers of names, in the order in which they first came."""
    return np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int64)


def _single(pages: _Pages, blocks: Iterator[LossRows], worst: int | None, least: int) -> LossReport:
    kept: list[LossRows] = []
    total = 0
    for rows in blocks:
        total += len(rows)
        kept.append(rows.where(rows.tokens >= least))
        if worst is not None:
            kept = [_highest(kept, worst)]
    chosen = _highest(kept, worst)
    columns = (chosen.dataset, chosen.step, chosen.tokens, chosen.mean)
    lines = tuple(
        LossLine(name=key, dataset=pages.datasets[dataset], step=step, pages=1, tokens=tokens, loss=loss)
        for key, dataset, step, tokens, loss in zip(pages.keys(chosen), *(c.tolist() for c in columns), strict=True)
    )
    return LossReport(by=None, lines=lines, num_rows=total)


def _highest(parts: list[LossRows], worst: int | None) -> LossRows:
    both = join_rows(parts)
    return both.where(np.lexsort((both.slot, both.pack, -both.mean))[:worst])


def _grouped(pages: _Pages, blocks: Iterator[LossRows], by: str, worst: int | None, least: int) -> LossReport:
    sums = np.zeros((3, 0))  # documents, tokens, loss of each group
    datasets = np.zeros(0, dtype=np.int64)
    for rows in blocks:
        codes = pages.codes(rows, by)
        if (size := int(codes.max()) + 1) > len(datasets):
            more = max(size, 2 * len(datasets)) - len(datasets)  # doubled: a copy for each block takes hours
            sums, datasets = np.pad(sums, ((0, 0), (0, more))), np.pad(datasets, (0, more))
        datasets[codes] = rows.dataset
        weights = np.stack([np.ones(len(rows)), rows.tokens, rows.loss])
        for number in range(len(sums)):
            np.add.at(sums[number], codes, weights[number])
    count, tokens, loss = sums
    means = loss / np.maximum(tokens, 1)
    groups = np.flatnonzero(tokens >= max(least, 1))
    groups = groups[np.argsort(-means[groups], kind="stable")][:worst]
    lines = tuple(
        LossLine(
            name=name,
            dataset=pages.datasets[datasets[group]] if by == BY_PAGE else "",
            step=None,
            pages=int(count[group]),
            tokens=int(tokens[group]),
            loss=float(means[group]),
        )
        for group, name in zip(groups.tolist(), pages.names(groups.tolist(), by), strict=True)
    )
    return LossReport(by=by, lines=lines, num_rows=int(count.sum()))
