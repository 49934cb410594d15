"""Which pages of several folders of shards, and in which order: decided from the indexes alone.

About 40 bytes of memory per page, so that ten million pages fit into any machine; sorting by key reads the keys, too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.stored_keys import read_keys
from wdstream.errors import ConfigError, ShardError
from wdstream.plan.filter import OWN_NAMES, Where
from wdstream.plan.held_out import HoldOutRule, Split
from wdstream.plan.metadata_columns import check_names, metadata_by_name, values_of
from wdstream.plan.order import combine, splitmix64
from wdstream.plan.protocols import Dataset
from wdstream.records import Bools, Ints, Page
from wdstream.shards.layout import ShardPaths
from wdstream.shards.meta import load_meta
from wdstream.shards.reader import Shards

_NEED_A_MODEL = frozenset({"tokens", "patches"})
_SHUFFLE = 0x5E5
KEY = "key"
"""What to sort by: the keys of pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShards:
    """A folder of shards that pages are taken from.

    Attributes:
        name: that of its folder, different from those of others.
        shards: the opened index.
    """

    name: str
    shards: Shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Pages in order: `source` (n,) is the number of the folder, `row` (n,) the page's row in it."""

    inputs: tuple[InputShards, ...]
    source: NDArray[np.int32]
    row: Ints

    def __len__(self) -> int:
        return len(self.row)

    def take(self, places: NDArray[Any] | slice) -> "Choice":
        """The pages at these places, or where a mask is true."""
        return Choice(inputs=self.inputs, source=self.source[places], row=self.row[places])

    def column(self, name: str) -> NDArray[Any]:
        """A column of the indexes for every page, (n,)."""
        first: NDArray[Any] = getattr(self.inputs[0].shards, name)
        values = np.empty(len(self), first.dtype)
        for number, mask in self._by_input():
            values[mask] = getattr(self.inputs[number].shards, name)[self.row[mask]]
        return values

    def tokens(self, fingerprint: str) -> NDArray[np.int32]:
        """Tokens of every page's text under one tokenizer."""
        counts = np.empty(len(self), np.int32)
        for number, mask in self._by_input():
            counts[mask] = self.inputs[number].shards.tokens(fingerprint)[self.row[mask]]
        return counts

    def supervised(self, fingerprint: str) -> NDArray[np.int32] | None:
        """Supervised tokens of every page; None where all are in every folder."""
        columns = [given.shards.supervised(fingerprint) for given in self.inputs]
        if all(column is None for column in columns):
            return None
        counts = self.tokens(fingerprint)
        for number, mask in self._by_input():
            column = columns[number]
            if column is not None:
                counts[mask] = column[self.row[mask]]
        return counts

    def held_out(self) -> Bools:
        """Which pages are held out; none of a folder that holds out none."""
        held = np.zeros(len(self), np.bool_)
        for number, mask in self._by_input():
            column = self.inputs[number].shards.held_out
            if column is not None:
                held[mask] = column[self.row[mask]] == 1
        return held

    def first_image(self) -> tuple[Ints, Ints, Ints]:
        """Width and height of each page's first image, 0 without one, and pixels of all its images."""
        width, height, pixels = (np.zeros(len(self), np.int64) for _ in range(3))
        for number, mask in self._by_input():
            width[mask], height[mask], pixels[mask] = _sizes_of(self.inputs[number].shards, self.row[mask])
        return width, height, pixels

    def name(self, place: int) -> tuple[str, str]:
        """Key of a page, and fingerprint of its folder."""
        shards = self.inputs[int(self.source[place])].shards
        return shards.key(int(self.row[place])), shards.fingerprint

    def page(self, place: int) -> Page:
        """A page as it is stored."""
        return self.inputs[int(self.source[place])].shards.read_page(int(self.row[place]))

    def _by_input(self) -> Iterator[tuple[int, Bools]]:
        for number in range(len(self.inputs)):
            yield number, self.source == number


def open_inputs(paths: Sequence[Path | str]) -> tuple[InputShards, ...]:
    """Open folders of shards, each named after its folder.

    Raises:
        ConfigError: none is given, or one twice, by itself or as a copy.
        ShardIndexError: one has no index.
    """
    if not paths:
        raise ConfigError("give at least one folder of shards")
    places = [str(path).rstrip("/") if "://" in str(path) else str(Path(path).resolve()) for path in paths]
    repeated = sorted({str(path) for path, place in zip(paths, places, strict=True) if places.count(place) > 1})
    if repeated:
        raise ConfigError(f"{repeated[0]} is given twice: its pages would be doubled")
    names: list[str] = []
    for place in places:
        base = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in place.rpartition("/")[2])
        base = f"k{base}" if base.startswith("__") or not base else base
        number = next(n for n in range(1, len(places) + 1) if (base if n == 1 else f"{base}-{n}") not in names)
        names.append(base if number == 1 else f"{base}-{number}")
    inputs = tuple(InputShards(name=name, shards=Shards.open(path)) for name, path in zip(names, paths, strict=True))
    _refuse_copies(inputs)
    return inputs


def _refuse_copies(inputs: Sequence[InputShards]) -> None:
    """One folder may be a copy of another: its pages are the same, and a list of pages could not tell the two apart."""
    first: dict[str, Path | str] = {}
    for given in inputs:
        other = first.setdefault(given.shards.fingerprint, given.shards.path)
        if other is not given.shards.path:
            raise ConfigError(f"{given.shards.path} is a copy of {other}: its pages would be doubled; give one of them")


def choose(
    inputs: Sequence[InputShards],
    *,
    where: str | None = None,
    split: Split = "all",
    keep: Callable[[Choice], Bools] | None = None,
    sort: str | None = None,
    shuffle_seed: int | None = None,
) -> Choice:
    """The pages of all inputs that are wanted, in the order that is wanted.

    Raises:
        ConfigError: `where` or `sort` cannot be used, or no page is left.
    """
    rows = [np.arange(len(given.shards), dtype=np.int64) for given in inputs]
    source = np.repeat(np.arange(len(rows), dtype=np.int32), [len(each) for each in rows])
    choice = Choice(inputs=tuple(inputs), source=source, row=np.concatenate(rows))
    if keep is not None:
        choice = choice.take(keep(choice))
    if split != "all":
        choice = choice.take(choice.held_out() == (split == "held_out"))
    if where is not None:
        choice = choice.take(_chosen(choice, where))
    if not len(choice):
        raise ConfigError("no page is left: nothing to write")
    if sort is not None:
        choice = choice.take(_sorted(choice, sort))
    if shuffle_seed is not None:
        keys = splitmix64(choice.column("key_hash") ^ np.uint64(combine(_SHUFFLE, shuffle_seed)))
        choice = choice.take(np.argsort(keys, kind="stable"))
    return choice


def own_columns(choice: Choice) -> dict[str, NDArray[Any]]:
    """The columns that `where` may ask of every index without a model: (n,) each; `text_tokens` where it is clear of
    which tokenizer."""
    columns = {name: choice.column(name) for name in ("text_bytes", "text_chars", "num_images")}
    columns |= dict(zip(("width", "height", "pixels"), choice.first_image(), strict=True))
    names = np.array([given.name for given in choice.inputs], object)
    columns["dataset"] = names[choice.source]
    tokenizers = common_tokenizers(choice.inputs)
    if len(tokenizers) == 1:
        columns["text_tokens"] = choice.tokens(tokenizers[0])
    return columns


def common_tokenizers(inputs: Sequence[InputShards]) -> list[str]:
    """Fingerprints of the tokenizers whose tokens are counted in every input."""
    each = [set(given.shards.catalog.token_fingerprints()) for given in inputs]
    return sorted(set.intersection(*each))


def _chosen(choice: Choice, expression: str) -> Bools:
    where = Where(expression)
    impossible = sorted(where.names & _NEED_A_MODEL)
    if impossible:
        raise ConfigError(
            f"where: {expression!r}: {impossible[0]!r} depends on a model and its tiling; ask for text_tokens, "
            "text_chars, width, height, pixels or metadata here"
        )
    check_names([expression], [Dataset(columns=given.shards, name=given.name) for given in choice.inputs])
    own = own_columns(choice) if where.names & OWN_NAMES else {}
    mask = np.zeros(len(choice), np.bool_)
    for number, given in enumerate(choice.inputs):
        of_input = choice.source == number
        columns: dict[str, Any] = {name: values[of_input] for name, values in own.items()}
        rows = choice.row[of_input]
        columns |= values_of(given.shards, where.names - OWN_NAMES, rows)
        mask[of_input] = where.select(columns, len(rows))
    return mask


def _sorted(choice: Choice, by: str) -> Ints:
    """Places in the order of a column or the key, pages without a value last, in the order of the input."""
    if by == KEY:
        return np.argsort(_keys(choice), kind="stable").astype(np.int64)
    own = own_columns(choice)
    if by in own:
        return np.argsort(own[by], kind="stable").astype(np.int64)
    if by not in (names := metadata_names(choice.inputs)):
        raise ConfigError(f"sort: no column {by!r}; there are {', '.join(sorted({KEY, *own, *names}))}")
    return _sorted_by_metadata(choice, by)


def _sorted_by_metadata(choice: Choice, by: str) -> Ints:
    parts = [values_of(given.shards, [by], choice.row[choice.source == n])[by] for n, given in enumerate(choice.inputs)]
    known = [part for part in parts if np.ma.count(part)]
    if len({part.dtype.kind in "OU" for part in known}) > 1:
        raise ConfigError(f"sort: {by!r} is text in one folder and a number in another")
    kind = np.result_type(*(part.dtype for part in known)) if known else np.int64  # of whole numbers and others
    absent, values = np.ones(len(choice), np.bool_), np.empty(len(choice), kind)
    values[:] = "" if values.dtype == object else 0
    for number, part in enumerate(parts):
        mask = choice.source == number
        absent[mask] = np.ma.getmaskarray(part)
        values[np.flatnonzero(mask)[~absent[mask]]] = np.ma.compressed(part)
    order = np.argsort(values, kind="stable")
    return order[np.argsort(absent[order], kind="stable")].astype(np.int64)


def _sizes_of(shards: Shards, rows: Ints) -> tuple[Ints, Ints, Ints]:
    """Width and height of the first image of these rows, and pixels of all their images."""
    widths, heights = (np.append(getattr(shards, name), 0).astype(np.int64) for name in ("image_width", "image_height"))
    start, end = shards.image_start[rows], shards.image_start[rows + 1]
    areas = np.concatenate([[0], np.cumsum(widths * heights)])
    has_image = end > start
    return widths[start] * has_image, heights[start] * has_image, areas[end] - areas[start]


def _keys(choice: Choice) -> NDArray[np.bytes_]:
    """The keys of all pages, from the meta of local shards."""
    parts: list[NDArray[np.bytes_]] = []
    places: list[Ints] = []
    for number, given in enumerate(choice.inputs):
        place = np.flatnonzero(choice.source == number)
        places.append(place)
        parts.append(keys_of(given.shards)[choice.row[place]])
    keys = np.concatenate(parts)
    ordered = np.empty_like(keys)
    ordered[np.concatenate(places)] = keys
    return ordered


def keys_of(shards: Shards) -> NDArray[np.bytes_]:
    """The keys of all rows in UTF-8, (n,), from the meta next to the tars; at a URL without, from the tars' headers."""
    if "://" in str(shards.path):
        return np.array([keys.key(place).encode() for keys in read_keys(shards) for place in range(len(keys))])
    folder, parts = Path(shards.path), []
    for entry in shards.catalog.shards:
        meta = load_meta(ShardPaths.of(folder / entry.name).meta)
        if meta.digest != entry.digest:
            raise ShardError(f"{folder / entry.name} is not as it was indexed: run `wdstream verify {folder}`")
        parts.append(np.array([meta.key(sample).encode() for sample in range(meta.num_samples)]))
    return np.concatenate(parts)


def common_rule(inputs: Sequence[InputShards]) -> HoldOutRule | None:
    """The rule by which all inputs hold pages out; None where none does.

    Raises:
        ConfigError: they have several rules, or some have none.
    """
    rules = [given.shards.catalog.split for given in inputs]
    if all(rule == rules[0] for rule in rules):
        return rules[0]
    shown = "; ".join(
        f"{given.shards.path}: {rule.describe() if rule else 'none'}" for given, rule in zip(inputs, rules, strict=True)
    )
    raise ConfigError(
        f"pages are held out by different rules ({shown}): one set could not keep them apart. Hold out by one rule "
        "first (`wdstream split`), or take one side with --split train or held_out"
    )


def metadata_names(inputs: Sequence[InputShards]) -> list[str]:
    """Names of the metadata that are columns of any input, as `where` has them."""
    return sorted({name for given in inputs for name in metadata_by_name(given.shards)})
