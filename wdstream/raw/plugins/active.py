"""Which plugins a job uses, and what is in RAW for one that reads all of it."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.raw.folder_state import is_output_folder
from wdstream.raw.folders import FolderWalk
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.listing import Listing
from wdstream.raw.plugins.loading import asked_for, installed_offers
from wdstream.raw.plugins.source import KIND, WHOLE_FOLDER, PluginSource
from wdstream.raw.registry import SOURCES, current_sources, source_of_kind, use_sources
from wdstream.raw.remote.access import shown_raw, store_of
from wdstream.raw.source import RawFile
from wdstream.raw.texts.finder import TextsLeft

_MAX_STEM = 48


@contextmanager
def plugged_in(names: Sequence[str]) -> Iterator[None]:
    """Use plugins for the block: those that `--source` names before our own sources, other installed ones after them.

    Raises:
        ConfigError: one that is named is not there, or cannot be imported.
    """
    asked = [PluginSource(offer) for offer in asked_for(names)]
    for source in asked:
        source.check_installed()
    _check_used(asked)
    others = [PluginSource(offer) for offer in installed_offers() if offer.name not in names]
    with use_sources((*asked, *SOURCES, *others)):
        yield


def _check_used(asked: Sequence[PluginSource]) -> None:
    """Check that each plugin that is asked for has files of its own.

    Raises:
        ConfigError: another one reads them.
    """
    first: dict[str, PluginSource] = {}
    for source in asked:
        for suffix in source.suffixes or ("",):
            other = first.setdefault(suffix, source)
            if other.offer.target != source.offer.target:
                what = f"files that end in {suffix}" if suffix else "all of RAW"
                raise ConfigError(
                    f"sources {other.offer.name!r} and {source.offer.name!r} both read {what}; give each suffixes of "
                    "its own: .suffix=module:name"
                )
    if "" in first and len(first) > 1:
        raise ConfigError(
            f"source {first[''].offer.name!r} reads all of RAW, so that no other one is asked; say which suffix it "
            f"reads: .suffix={first[''].offer.target}"
        )


def folder_plugin() -> PluginSource | None:
    """The plugin that reads all of RAW, if one is used."""
    return next((s for s in current_sources() if isinstance(s, PluginSource) and s.reads_folder), None)


def list_for_plugin(raw: Path, source: PluginSource, *, exclude: Path, allow_outside_links: bool) -> Listing:
    """RAW as the one file of a plugin, which changes with every file in it.

    Raises:
        ConfigError: it is not a folder.
    """
    if store_of(raw) is not None or not raw.is_dir():
        raise ConfigError(f"{shown_raw(raw)}: expected a folder of this machine for source {source.offer.name!r}")
    folders = FolderWalk(
        raw, exclude=exclude, allow_outside=allow_outside_links, is_read=lambda _: True, is_output=is_output_folder
    )
    used, stamps, outputs = list[str](), list[str](), list[str]()
    num_bytes = 0
    for folder in folders:
        outputs += [folder.path.rstrip("/")] if folder.is_output else []
        for name, size, version in folder.files.sizes():
            num_bytes += size
            used.append(f"{folder.path}{name}\0{size}")
            stamps.append(f"{used[-1]} {version}")
    return Listing(
        files=RawFiles([RawFile(path=WHOLE_FOLDER, kind=source.kind, stem=_stem(source), num_bytes=num_bytes)]),
        left_to_rows=(),
        ignored={},
        outputs=tuple(outputs),
        unreadable=(),
        digest=_digest(used),
        texts_left=TextsLeft(unused={}, unknown=(), unmatched=()),
        stamps={WHOLE_FOLDER: f"{num_bytes} {_digest(stamps)}"},
    )


def _stem(source: PluginSource) -> str:
    """What the keys of its pages begin with: its own name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", source.offer.target.partition(":")[2])[:_MAX_STEM].strip("_") or "rows"


def _digest(lines: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(lines)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def plugin_fingerprints(kinds: Iterable[str]) -> dict[str, str]:
    """The fingerprint of each plugin among some kinds of files.

    Raises:
        ConfigError: one cannot be imported.
    """
    plugins = [source_of_kind(kind) for kind in sorted({*kinds}) if kind.startswith(KIND)]
    return {plugin.offer.name: plugin.offer.fingerprint() for plugin in plugins if isinstance(plugin, PluginSource)}
