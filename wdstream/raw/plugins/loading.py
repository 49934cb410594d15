"""Finding what a plugin offers: by the entry point of an installed package, or by `module:name`.

[project.entry-points."wdstream.sources"]
djvu = "my_package:read_djvu"               # reads files that end in .djvu

wdstream make-shards raw --source my_module:read_all              # what it says it reads, or all of RAW
wdstream make-shards raw --source .notes=my_module:read_notes     # files that end in .notes
"""

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from wdstream.errors import ConfigError

ENTRY_POINTS = "wdstream.sources"
"""The group of entry points; the name of one is the suffix of the files that it reads."""
_OPTION = re.compile(r"(?:(\.[^=]+)=)?([\w.]+:[\w.]+)")
_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Something that reads raw files, not yet imported.

    Attributes:
        name: as it was asked for, or the name of its entry point.
        target: `module:name`.
        suffixes: of the files that it reads, where that is known without importing it.
        version: of the package that offers it.
    """

    name: str
    target: str
    suffixes: tuple[str, ...] = ()
    version: str = ""

    def load(self) -> object:
        """What it offers; imported once.

        Raises:
            ConfigError: it cannot be imported.
        """
        try:
            return _imported(self.target)
        except Exception as error:  # whatever a module of others raises while it is imported
            raise ConfigError(
                f"source {self.name!r} at {self.target} cannot be imported: {type(error).__name__}: {error}"
            ) from error

    def fingerprint(self) -> str:
        """Changes with what it does: its own `fingerprint`, else the content of its module and the package's version.

        The module is the one that is named, and that in which it was made, where it is from another one.

        Raises:
            ConfigError: it cannot be imported.
        """
        found = self.load()
        own = getattr(found, "fingerprint", None)
        if isinstance(own, str | int):
            return str(own)
        modules = {self.target.partition(":")[0], str(getattr(found, "__module__", ""))}
        files = {str(getattr(sys.modules.get(name), "__file__", None) or "") for name in modules}
        content = b"".join(Path(file).read_bytes() for file in sorted(files) if Path(file).is_file())
        return hashlib.sha256(content + self.version.encode()).hexdigest()[:_DIGITS]


def asked_for(names: Sequence[str]) -> list[Offer]:
    """What `--source` names, in its order.

    Raises:
        ConfigError: a text is neither the name of an entry point nor `module:name`.
    """
    installed = {offer.name: offer for offer in installed_offers()}
    return [installed[name] if name in installed else _offer_of(name, installed) for name in names]


def installed_offers() -> list[Offer]:
    """What installed packages offer, by name. Of two of one name, the first is taken."""
    found = {point.name: point for point in reversed([*entry_points(group=ENTRY_POINTS)])}
    return [
        Offer(name=name, target=point.value, suffixes=(f".{name.lstrip('.').lower()}",), version=_version(point))
        for name, point in sorted(found.items())
    ]


def _offer_of(name: str, installed: Sequence[str] | dict[str, Offer]) -> Offer:
    match = _OPTION.fullmatch(name)
    if match is None:
        offered = ", ".join(installed) or "none"
        raise ConfigError(
            f"source {name!r}: expected module:name, .suffix=module:name, or the name of an entry point of the group "
            f"{ENTRY_POINTS!r}; offered are: {offered}"
        )
    suffixes = (match[1].lower(),) if match[1] else ()
    return Offer(name=name, target=match[2], suffixes=suffixes)


def _version(point: EntryPoint) -> str:
    return point.dist.version if point.dist is not None else ""


@lru_cache(maxsize=64)
def _imported(target: str) -> object:
    module, _, name = target.partition(":")
    found: object = _module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _module(name: str) -> object:
    """A module, also one in the folder where the command runs; processes that are started later find it, too."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = str(Path.cwd())
        if error.name != name.partition(".")[0] or here in map(os.path.abspath, sys.path):
            raise
        sys.path.append(here)
        return importlib.import_module(name)
