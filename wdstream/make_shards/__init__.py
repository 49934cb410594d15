"""`wdstream make-shards`: a folder of raw pages to shards with an index; processes, resumable, always the same bytes.

list ──► survey ──► assign ► build ──► merge          a process that dies or hangs loses one page, not the job
names    pages of   shards   tar, idx,  index/,
         each file           meta.npz   tokens, quarantine.jsonl
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wdstream.make_shards.engines.count_part import count_part
    from wdstream.make_shards.engines.index_part import index_part
    from wdstream.make_shards.engines.make_part import PartReport, make_part
    from wdstream.make_shards.finish import MakeShardsReport
    from wdstream.make_shards.indexing import add_token_column, index_folder
    from wdstream.make_shards.job import MakeShardsStopped, make_shards
    from wdstream.make_shards.options import MakeShardsOptions
    from wdstream.report.progress import progress_bar

__all__ = [
    "MakeShardsOptions",
    "MakeShardsReport",
    "MakeShardsStopped",
    "PartReport",
    "add_token_column",
    "count_part",
    "index_folder",
    "index_part",
    "make_part",
    "make_shards",
    "progress_bar",
]

# Found on first use: a worker process needs none of them.
_HOMES = {
    "MakeShardsOptions": "wdstream.make_shards.options",
    "MakeShardsReport": "wdstream.make_shards.finish",
    "MakeShardsStopped": "wdstream.make_shards.job",
    "PartReport": "wdstream.make_shards.engines.make_part",
    "add_token_column": "wdstream.make_shards.indexing",
    "count_part": "wdstream.make_shards.engines.count_part",
    "index_folder": "wdstream.make_shards.indexing",
    "index_part": "wdstream.make_shards.engines.index_part",
    "make_part": "wdstream.make_shards.engines.make_part",
    "make_shards": "wdstream.make_shards.job",
    "progress_bar": "wdstream.report.progress",  # of a layer above: lent here, for programs that call make_shards
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wdstream.make_shards' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
