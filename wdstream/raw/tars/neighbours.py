"""What is next to tars or folders and says again what they hold: metadata of their writers, and packed copies."""

from collections.abc import Callable, Collection, Iterator

from wdstream.raw.source import split_suffix
from wdstream.raw.tars.source import TarSource
from wdstream.shards.layout import TAR_SUFFIX

_STATS = "_stats.json"
_DESCRIPTIONS = (".parquet", _STATS, "_incomplete.parquet", ".meta.npz", ".tar.idx")
"""Endings of the metadata that img2dataset writes next to each tar or folder, whose rows are the samples once more, and
of what `wdstream index` writes next to a tar."""


def descriptions(names: Collection[str], is_folder: Callable[[str], bool]) -> set[str]:
    """Names in a folder of files that describe a tar next to them, or a folder of images: samples that they would
    repeat. Of folders, those that img2dataset wrote: its `_stats.json` is there, and it numbers them."""
    found = [
        (name, end) for name in names if name.endswith(_DESCRIPTIONS) for end in _DESCRIPTIONS if name.endswith(end)
    ]
    tars = {stem for stem, _suffix in _tars(names)} if found else set[str]()
    counted = {name.removesuffix(_STATS) for name, end in found if end == _STATS}
    described = tars | {stem for stem in counted - tars if stem.isdecimal() and is_folder(stem)}
    return {name for name, end in found if name.removesuffix(end) in described}


def packed_copies(names: Collection[str]) -> dict[str, str]:
    """Compressed tars in a folder next to a plain one of the same name, and that one: the same samples, as it seems."""
    tars = [*_tars(names)]
    plain = {stem: stem + suffix for stem, suffix in tars if suffix.lower() == TAR_SUFFIX}
    return {stem + end: plain[stem] for stem, end in tars if end.lower() != TAR_SUFFIX and stem in plain}


def _tars(names: Collection[str]) -> Iterator[tuple[str, str]]:
    return (split for name in names if (split := split_suffix(name, TarSource.suffixes)) is not None)
