"""split: hold pages out of an index that is there, or take that away. No tar is written, and none but copies is read.

    documents ─► hash ─► rule (plan/held_out.py) ─► a column of the index, next to the others

Pages that are added later go by the same rule, which the index keeps. Copies of a page are not looked for in all
shards, which verify and dedup do: only those are, that are on two sides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ConfigError, PageError, ShardError, ShardIndexError
from wdstream.make_shards.manifest import JOB_FILE
from wdstream.plan.held_out import HeldOutCounts, HoldOut, HoldOutRule
from wdstream.shards.apart.set_folder import SetFolder, set_folder
from wdstream.shards.catalog import Catalog
from wdstream.shards.index import metas_in
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.reader import Shards
from wdstream.shards.samples.documents import DocumentTable
from wdstream.shards.samples.row_name import name_of_row
from wdstream.shards.token_columns import write_split
from wdstream.text.characters import printable
from wdstream.verify.page_check import marks_of

MAX_COMPARED = 50_000
"""Pages that are read to find copies; where more could be one, none is."""
_SHOWN_COPIES = 3
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Pages that are held out, and are in the training pages, too: the same images and text.

    Attributes:
        pairs: key of the held-out page, and of one that is trained on.
        compared: pages that were read for it.
        too_many: pages that would have been to read; then none was.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    compared: int = 0
    too_many: int = 0

    def lines(self, folder: Path | str) -> Iterator[str]:
        """What there is to say of them: names of a few, or that they were not looked for."""
        if self.too_many:
            yield (
                f"copies of held-out pages were not looked for: {self.too_many:,} pages could be one; `wdstream verify "
                f"{folder}` names all copies"
            )
        if self.pairs:
            shown = "; ".join(f"{held} = {trained}" for held, trained in self.pairs[:_SHOWN_COPIES])
            more = f"; and {len(self.pairs) - _SHOWN_COPIES:,} more" if len(self.pairs) > _SHOWN_COPIES else ""
            yield (
                f"warning: {len(self.pairs):,} held-out pages have a copy that is trained on ({shown}{more}): they do "
                "not test what was learned; remove copies before, or hold out by a field that copies share"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What a split did.

    Attributes:
        folder: of the shards.
        counts: what is held out now; None where nothing is.
        now_held_out, now_trained_on: pages that were on the other side before; of a first split, none were.
        copies: of held-out pages; None where they were not looked for.
    """

    folder: Path | str
    counts: HeldOutCounts | None
    now_held_out: int = 0
    now_trained_on: int = 0
    copies: Copies | None = None

    def print(self, console: Console) -> None:
        """Write it, a line for each matter."""
        for line in self._lines():
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def _lines(self) -> Iterator[str]:
        if self.counts is None:
            yield f"{self.folder}: no page is held out"
        else:
            yield from self.counts.lines()
        if self.now_held_out:
            yield (
                f"warning: {self.now_held_out:,} pages are held out that were trained on before: models that were "
                "trained on these shards may have seen them"
            )
        if self.now_trained_on:
            yield f"{self.now_trained_on:,} pages that were held out are trained on from now on"
        yield from () if self.copies is None else self.copies.lines(self.folder)


def split_shards(shards: Path | str, options: SplitOptions) -> SplitReport:
    """Hold pages out of the index of a folder or URL of shards, or show or remove what is held out.

    A kill leaves the index as it was, or as it is to be. A request that the index answers already changes nothing: of
    a number of pages, those that were chosen stay chosen.

    Raises:
        ConfigError: options that contradict each other; nothing, or everything, would be held out.
        ShardIndexError: there is no index, or it is not of the shards that are there.
    """
    with set_folder(shards, job="split", with_metas=True, more=(JOB_FILE,)) as of:
        report = _split(of, options)
    return replace(report, folder=of.address)


def _split(of: SetFolder, options: SplitOptions) -> SplitReport:
    folder = of.folder
    asked = _request(folder, options)
    catalog = IndexFiles(folder).catalog
    if options.remove:
        before = Shards.open(folder).held_out
        write_split(folder, None, None)
        return SplitReport(folder=folder, counts=None, now_trained_on=0 if before is None else int(before.sum()))
    if asked is None and catalog.split is None:
        return SplitReport(folder=folder, counts=None)
    table = _documents(of, catalog, asked)
    counts, column = table.finish(), table.column
    moved = (0, 0)
    if asked is not None:
        moved = _moved(folder, catalog.split, column)
        write_split(folder, table.rule, column)
    return SplitReport(
        folder=folder,
        counts=counts,
        now_held_out=moved[0],
        now_trained_on=moved[1],
        copies=find_copies(of.open(), column) if options.copies and asked is not None else None,
    )


def _request(folder: Path, options: SplitOptions) -> HoldOut | None:
    if options.remove and options.holdout is not None:
        raise ConfigError("--remove holds nothing out any more: give either it or --holdout")
    if options.holdout is None:
        if options.by is not None or options.seed:
            raise ConfigError("--by and --seed say which pages are held out; give --holdout, too, such as 2%")
        return None
    default = "file" if (folder / JOB_FILE).is_file() else "name"
    return HoldOut(asked=options.holdout, by=options.by or default, seed=options.seed)


def _documents(of: SetFolder, catalog: Catalog, asked: HoldOut | None) -> DocumentTable:
    """The documents of the shards that the index lists.

    Raises:
        ShardError: a shard's files are not there; ShardIndexError: they are not those that were indexed.
    """
    folder = of.folder
    load = metas_in(folder, of.tars(catalog))
    table = DocumentTable(str(folder), catalog.split, asked, load)
    for entry in catalog.shards:
        try:
            meta = load(entry.name)
        except ShardError as error:
            raise ShardError(f"{folder}: {error}; `wdstream verify {folder}` says more, and what to do") from error
        if meta.digest != entry.digest:
            raise ShardIndexError(
                f"{folder / entry.name} is not what the index lists: run `wdstream index {folder}` first, which says "
                "more"
            )
        table.add(entry.name, meta)
    return table


def _moved(folder: Path, rule: HoldOutRule | None, now: NDArray[np.uint8]) -> tuple[int, int]:
    """Pages that change to the held-out side, and to the other; none where no page was held out before."""
    before = None if rule is None else Shards.open(folder).held_out
    if before is None:
        return 0, 0
    return int(np.count_nonzero(now > before)), int(np.count_nonzero(now < before))


def find_copies(shards: Shards, held_out: NDArray[np.uint8]) -> Copies:
    """Held-out pages that are trained on, too. Read are those alone that have sizes and lengths in common.

    Args:
        shards: the pages.
        held_out: (n,) 1 where a page is held out.

    Raises:
        ShardError: a shard is missing, or not what the index says.
    """
    rows = _suspects(shards, held_out)
    if len(rows) > MAX_COMPARED:
        return Copies(too_many=len(rows))
    trained: dict[bytes, int] = {}
    held: list[tuple[int, bytes]] = []
    for row, digest in _digests(shards, rows.tolist()):
        if held_out[row]:
            held.append((row, digest))
        else:
            trained.setdefault(digest, row)
    pairs = [(row, trained[digest]) for row, digest in held if digest in trained]
    named = tuple((name_of_row(shards, row), name_of_row(shards, other)) for row, other in pairs)
    return Copies(pairs=named, compared=len(rows))


def _suspects(shards: Shards, held_out: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows of pages that agree with one on the other side in size of image and length of text."""
    has_image = np.asarray(shards.num_images) > 0
    first = np.minimum(np.asarray(shards.image_start)[:-1], max(shards.catalog.num_images - 1, 0))
    sizes = [np.asarray(shards.num_images), np.asarray(shards.text_bytes), np.asarray(shards.text_chars)]
    if shards.catalog.num_images:
        sizes += [np.where(has_image, side[first], 0) for side in (shards.image_width, shards.image_height)]
    _, group = np.unique(np.stack(sizes).astype(np.int64), axis=1, return_inverse=True)
    group = group.reshape(-1)
    sides = [np.bincount(group[held_out == side], minlength=int(group.max(initial=-1)) + 1) for side in (0, 1)]
    return np.flatnonzero(((sides[0] > 0) & (sides[1] > 0))[group])


def _digests(shards: Shards, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Row and digest of images and text of each page that can be read."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        for row, page in zip(some, shards.read_pages(some), strict=True):
            if not isinstance(page, PageError):
                yield row, marks_of(page, None).page
