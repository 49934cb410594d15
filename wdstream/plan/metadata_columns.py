"""What chooses among the pages of datasets: names and values that `where` may ask for, and the side of a split."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError
from wdstream.plan.filter import OWN_NAMES, UNKNOWN_KIND, Where
from wdstream.plan.protocols import Dataset, DatasetColumns, MetadataValues, columns_by_row
from wdstream.plan.sample_lengths import SampleLengths, SampleSizes
from wdstream.records import Bools, Ints

_PREFIX = "meta_"
_SLAB = 1 << 16


def metadata_by_name(columns: DatasetColumns) -> Mapping[str, MetadataValues]:
    """A dataset's metadata by the names that `where` has for them: one of the plan's own names gets a prefix."""
    return {(_PREFIX + name if name in OWN_NAMES else name): column for name, column in columns.metadata.items()}


def names_of(expressions: Iterable[str]) -> list[str]:
    """The metadata that expressions name, sorted."""
    return sorted({name for expression in expressions for name in Where(expression).names} - OWN_NAMES)


def stored_name(name: str) -> str:
    """The name that pages have it by."""
    own = name.removeprefix(_PREFIX)
    return own if own in OWN_NAMES else name


def own_expressions(datasets: Iterable[Dataset]) -> tuple[str, ...]:
    """The expressions that choose among the pages of one dataset each."""
    return tuple(dataset.where for dataset in datasets if dataset.where is not None)


def check_names(expressions: Sequence[str], datasets: Sequence[Dataset]) -> None:
    """Refuse expressions that ask for metadata that no page has, or that could not become a column.

    Raises:
        ConfigError: names the expression, the name, one that is like it, and what there is.
    """
    known = {name for dataset in datasets for name in metadata_by_name(dataset.columns)}
    for expression in expressions:
        for name in names_of([expression]):
            for dataset in datasets:
                why = dataset.columns.why_no_metadata(stored_name(name))
                if why is not None and name not in metadata_by_name(dataset.columns):
                    raise ConfigError(
                        f"where: {expression!r}: {name!r} could not become a column of dataset {dataset.name!r}: {why}"
                    )
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known | OWN_NAMES), 1)
                hint = f"; did you mean {near[0]!r}" if near else ""
                raise ConfigError(
                    f"where: {expression!r}: no column {name!r}, and no page has metadata of this name{hint}. "
                    f"There are {', '.join(sorted(known | OWN_NAMES))}"
                )


def check_split(dataset: Dataset) -> None:
    """Refuse a dataset of held-out pages whose index holds out none.

    Raises:
        ConfigError: names the dataset, and the command that holds pages out.
    """
    if dataset.split == "held_out" and dataset.columns.held_out is None:
        path = getattr(dataset.columns, "path", "SHARDS")
        raise ConfigError(
            f"dataset {dataset.name!r}: split: held_out, but no page of {path} is held out; `wdstream split {path} "
            "--holdout 2%` does that in seconds, and changes no shard"
        )


def rows_taken(dataset: Dataset, rows: Ints) -> Bools | None:
    """Which of these rows are on the side of the split that is asked for; None where all are."""
    held_out = dataset.columns.held_out
    if held_out is None or dataset.split == "all":
        return None
    is_held_out = np.asarray(held_out[rows], dtype=np.bool_)
    return is_held_out if dataset.split == "held_out" else ~is_held_out


def sample_columns(dataset: Dataset, rows: Ints, sizes: SampleSizes, lengths: SampleLengths) -> dict[str, object]:
    """What every dataset can be asked for (OWN_NAMES), of these rows."""
    columns, has_image = columns_by_row(dataset.columns), sizes.num_images > 0
    first = np.minimum(sizes.bounds[:-1], max(len(sizes.widths) - 1, 0))
    sides = [sizes.widths, sizes.heights] if len(sizes.widths) else [np.zeros(1, dtype=np.int64)] * 2
    return {
        "tokens": lengths.tokens,
        "patches": lengths.patches,
        "text_tokens": sizes.text_tokens,
        "text_bytes": columns.text_bytes[rows],
        "text_chars": columns.text_chars[rows],
        "num_images": sizes.num_images,
        "width": np.where(has_image, sides[0][first], 0),
        "height": np.where(has_image, sides[1][first], 0),
        "pixels": sizes.sum(sizes.widths * sizes.heights),
        "dataset": dataset.name,
    }


def values_of(columns: DatasetColumns, names: Iterable[str], rows: Ints) -> dict[str, NDArray[Any]]:
    """Values of these rows by name; all masked where the dataset has no such column, since none of its pages has it."""
    found = metadata_by_name(columns)
    lacking: NDArray[Any] = np.ma.masked_array(np.zeros(len(rows), UNKNOWN_KIND), np.ones(len(rows), dtype=np.bool_))
    return {name: found[name][rows] if name in found else lacking for name in names}


def count_absent(expressions: Sequence[str], datasets: Sequence[Dataset]) -> dict[str, int]:
    """How many samples of all datasets lack each metadata that expressions name."""
    total = sum(len(dataset.columns) for dataset in datasets)
    counts = dict.fromkeys(names_of(expressions), total)
    for dataset in datasets:
        columns = metadata_by_name(dataset.columns)
        for name in counts.keys() & columns.keys():
            counts[name] -= _count_present(columns[name], len(dataset.columns))
    return counts


def _count_present(column: MetadataValues, size: int) -> int:
    slabs = (np.arange(start, min(start + _SLAB, size)) for start in range(0, size, _SLAB))
    return sum(int(np.ma.count(column[rows])) for rows in slabs)
