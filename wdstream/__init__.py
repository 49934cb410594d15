"""wdstream: raw document pages to an exactly planned, packed, resumable stream of training batches."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdstream.families.registry import load_family
    from wdstream.pipeline.planned import Plan, fit_tiling
    from wdstream.records import World
    from wdstream.shards.reader import Shards
    from wdstream.tiling.policy import TilingPolicy, plan_tiles

__all__ = ["Plan", "Shards", "TilingPolicy", "World", "fit_tiling", "load_family", "plan_tiles"]

# Imported on first use, so that `import wdstream.plan` or the command line's --help never waits for torch.
_HOMES = {
    "Plan": "wdstream.pipeline.planned",
    "Shards": "wdstream.shards.reader",
    "TilingPolicy": "wdstream.tiling.policy",
    "World": "wdstream.records",
    "fit_tiling": "wdstream.pipeline.planned",
    "load_family": "wdstream.families.registry",
    "plan_tiles": "wdstream.tiling.policy",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'wdstream' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
