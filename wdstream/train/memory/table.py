"""The estimate as a table: a row for each part of memory, a column for each way of sharing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wdstream.train.memory.estimate import GIB, MemoryEstimate, WayMemory

if TYPE_CHECKING:
    from rich.console import Console

TITLES = {"ddp": "DDP", "fsdp2": "FSDP2", "zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}
FIXED = ("weights", "gradients", "optimizer", "average", "gathered", "casts", "logits")


def print_memory(estimate: MemoryEstimate, console: "Console") -> None:
    """GiB per GPU, and how many packs fit."""
    from rich.table import Table

    table = Table(
        "GiB per GPU",
        *(TITLES[way] for way in estimate.ways),
        box=None,
        title=f"memory of {estimate.world} GPUs of {estimate.gpu_gib:g} GiB; {estimate.trained:,} weights are trained",
        title_justify="left",
        caption="false, selective, true: train.gradient_checkpointing; micro_batch_size: the largest that fits",
        caption_justify="left",
    )
    for name, values in _rows(estimate):
        table.add_row(name, *values)
    console.print(table)


def _rows(estimate: MemoryEstimate) -> Iterator[tuple[str, list[str]]]:
    ways = list(estimate.ways.values())
    for part in FIXED:
        yield part, [f"{getattr(way['false'], part) / GIB:.2f}" for way in ways]
    for name in ("false", "selective", "true"):
        yield f"a full pack, {name}", [f"{way[name].per_pack / GIB:.2f}" for way in ways]
    for name in ("false", "selective", "true"):
        yield f"micro_batch_size, {name}", [_said(way[name]) for way in ways]


def _said(memory: WayMemory) -> str:
    return str(memory.largest_micro_batch) if memory.largest_micro_batch else "none"
