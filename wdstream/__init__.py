"""wdstream: raw document pages to an exactly planned, packed, resumable stream of training batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wdstream.families.registry import load_family
    from wdstream.pages.tile import TilingPolicy, plan_tiles
    from wdstream.pipeline import Plan, fit_tiling
    from wdstream.shards.shards import Shards
    from wdstream.world import World

__all__ = ["Plan", "Shards", "TilingPolicy", "World", "fit_tiling", "load_family", "plan_tiles"]

# Names are found on first use, so that `import wdstream.pages` or the command line's --help never waits for torch.
_HOMES = {
    "Plan": "wdstream.pipeline",
    "Shards": "wdstream.shards.shards",
    "TilingPolicy": "wdstream.pages.tile",
    "World": "wdstream.world",
    "fit_tiling": "wdstream.pipeline",
    "load_family": "wdstream.families.registry",
    "plan_tiles": "wdstream.pages.tile",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wdstream' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
