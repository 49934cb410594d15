"""Keys that several samples of a folder of shards have: found by their hashes, settled by the keys themselves; and keys
of images in one tar and of texts in another that are one but for what `loose_name` leaves out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ShardError
from wdstream.shards.describe import listed
from wdstream.shards.layout import prefixed_key
from wdstream.shards.meta import ShardEntry, ShardMeta, hash_key, load_complete
from wdstream.shards.parts import IMAGE_HALF, TEXT_HALF, are_apart, loose_name


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedKey:
    """A key of several samples.

    Attributes:
        key: the key, in its tar.
        shards: the file name of each sample's shard, in order of rows.
        are_apart: whether one has no image and another no text: then they are the halves of one sample.
        other: where the other half is, if it has another key.
    """

    key: str
    shards: tuple[str, ...]
    are_apart: bool
    other: str = ""

    @property
    def left_out(self) -> tuple[str, ...]:
        """The shards whose sample of this key is of no use: all but the first, or every half."""
        return self.shards if self.are_apart else self.shards[1:]

    def describe(self) -> str:
        """Where it is, in one line."""
        if self.other:
            return f"{self.key!r} of {self.shards[0]} and {self.other} are the image and the text of one sample, apart"
        places = f"{', '.join(self.shards[:-1])} and in {self.shards[-1]}"
        what = ": the image and the text of one sample, which are apart" if self.are_apart else ""
        return f"the key {self.key!r} is in {places}{what}"


def find_repeated(
    meta_of: Callable[[str], ShardMeta], entries: Sequence[ShardEntry], hashes: Sequence[NDArray[np.uint64]]
) -> Iterator[RepeatedKey]:
    """Every key that is in several shards, in order of their hashes.

    Args:
        meta_of: the meta of a shard by its name.
        entries: the shards.
        hashes: of each shard's keys: its column `key_hash`, or `plain_hashes`.
    """
    everything = np.concatenate(hashes)
    order = np.argsort(everything, kind="stable")
    ranked = everything[order]
    starts = np.cumsum([0] + [entry.samples for entry in entries])
    metas: dict[int, ShardMeta] = {}
    for value in np.unique(ranked[1:][ranked[1:] == ranked[:-1]]):
        first = int(np.searchsorted(ranked, value))
        last = int(np.searchsorted(ranked, value, side="right"))
        found: dict[str, list[tuple[str, int]]] = {}
        for row in order[first:last].tolist():
            number = int(np.searchsorted(starts, row, side="right")) - 1
            if number not in metas:
                metas[number] = meta_of(entries[number].name)
            meta, sample = metas[number], row - int(starts[number])
            key = meta.key(sample).removeprefix(prefixed_key(entries[number].name, ""))
            found.setdefault(key, []).append((entries[number].name, _half(meta, sample)))
        for key, places in found.items():
            if len(places) > 1:
                names, halves = zip(*places, strict=True)
                yield RepeatedKey(key=key, shards=names, are_apart=are_apart(halves))


def find_apart(metas: Mapping[str, ShardMeta]) -> Iterator[RepeatedKey]:
    """Every half of a sample, an image in a tar without any text or a text in a tar without any image, whose other half
    has a key that is like it: `images/a` and `texts/a`. Equal keys are for `find_repeated`."""
    images: dict[str, tuple[str, str]] = {}
    texts = {name: meta for name, meta in metas.items() if not meta.columns["num_images"].any()}
    if not any(meta.num_samples for meta in texts.values()):
        return
    for name, meta in metas.items():
        if meta.columns["num_images"].all() and not meta.columns["text_chars"].any():
            images.update((loose_name(key), (key, name)) for key in _plain_keys(name, meta))
    halves: dict[tuple[str, str], str] = {}
    for name, meta in texts.items() if images else ():
        for key in _plain_keys(name, meta):
            found = images.get(loose_name(key))
            if found is not None and found[0] != key:
                halves[key, name] = f"{found[0]!r} of {found[1]}"
                halves.setdefault(found, f"{key!r} of {name}")
    for (key, name), other in halves.items():
        yield RepeatedKey(key=key, shards=(name,), are_apart=True, other=other)


def _plain_keys(name: str, meta: ShardMeta) -> Iterator[str]:
    """The keys of a shard as they are in its tar."""
    return (meta.key(sample).removeprefix(prefixed_key(name, "")) for sample in range(meta.num_samples))


def refuse_duplicates(
    folder: Path,
    entries: Sequence[ShardEntry],
    hashes: Sequence[NDArray[np.uint64]],
    load: Callable[[str], ShardMeta] | None = None,
) -> None:
    """Check that keys are unique over all shards; see `find_repeated`.

    Raises:
        ShardError: with the keys that several samples have, and their shards.
    """
    repeated = list(find_repeated(load or (lambda name: load_complete(folder / name)), entries, hashes))
    if repeated:
        raise ShardError(f"{folder}: {describe_repeated(repeated)}")


def plain_hashes(name: str, meta: ShardMeta) -> NDArray[np.uint64]:
    """Hashes of the keys as they are in the tar, uint64 (n,), where the index has the name of the tar before each."""
    prefix = prefixed_key(name, "")
    if not meta.num_samples or not meta.key(0).startswith(prefix):
        hashes: NDArray[np.uint64] = meta.columns["key_hash"]
        return hashes
    return np.fromiter(map(hash_key, _plain_keys(name, meta)), np.uint64, meta.num_samples)


def describe_repeated(repeated: Sequence[RepeatedKey]) -> str:
    """All of them, and what to do."""
    if any(key.are_apart for key in repeated):
        advice = "write tars in which the members of a sample are neighbours, or leave these out with --skip-bad"
    else:
        advice = (
            "rename them, or move one shard away; or let the name of its tar be part of each key (wdstream index "
            "--prefix-keys), or keep the first of each (--skip-bad)"
        )
    is_one = all(key.other for key in repeated)
    what = "of images and of texts in tars of their own" if is_one else "not unique over all shards"
    keys = f"{len(repeated):,} keys are {what}"
    return f"{keys}:{listed([key.describe() for key in repeated])}\n{advice}"


def _half(meta: ShardMeta, sample: int) -> int:
    """`parts.half_of`, from the columns."""
    has_image, has_text = bool(meta.columns["num_images"][sample]), bool(meta.columns["text_chars"][sample])
    return 0 if has_image == has_text else IMAGE_HALF if has_image else TEXT_HALF
