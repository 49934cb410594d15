"""What is next to tars and says again what they hold: the metadata that writers of tars leave, and packed copies."""

from collections.abc import Collection, Iterator

from wdstream.raw.source import split_suffix
from wdstream.raw.tars.source import TarSource
from wdstream.shards.layout import TAR_SUFFIX

_DESCRIPTIONS = (".parquet", "_stats.json", "_incomplete.parquet")
"""Endings of the metadata that img2dataset writes next to each tar: its rows are the samples once more."""


def descriptions(names: Collection[str]) -> set[str]:
    """Names in a folder of files that describe a tar next to them, whose samples they would repeat."""
    found = [
        (name, end) for name in names if name.endswith(_DESCRIPTIONS) for end in _DESCRIPTIONS if name.endswith(end)
    ]
    tars = {stem for stem, _suffix in _tars(names)} if found else ()
    return {name for name, end in found if name.removesuffix(end) in tars}


def packed_copies(names: Collection[str]) -> dict[str, str]:
    """Compressed tars in a folder next to a plain one of the same name, and that one: the same samples, as it seems."""
    tars = [*_tars(names)]
    plain = {stem: stem + suffix for stem, suffix in tars if suffix.lower() == TAR_SUFFIX}
    return {stem + end: plain[stem] for stem, end in tars if end.lower() != TAR_SUFFIX and stem in plain}


def _tars(names: Collection[str]) -> Iterator[tuple[str, str]]:
    return (split for name in names if (split := split_suffix(name, TarSource.suffixes)) is not None)
