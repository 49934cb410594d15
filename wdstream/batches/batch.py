"""Batch: the typed record that a loader gives, one pack per row, with mapping access to everything in it.

A dataclass and not a dict of a known shape: names and types are checked where it is made and where it is read, and a
batch that is printed is one line, not its tensors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from wdstream.records import Failure, StepPlan

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Batch(Mapping[str, Any]):
    """Packs as tensors: B rows of L tokens, R position rows (1 or 4), D documents over all rows with the padding ones.

    Also a read-only mapping: `batch["input_ids"]`, `{**batch}`, `batch.items()`. Under its fields' names, but that
    `page_keys` is "keys" there, and that the tensors of `arrays` are items of the batch itself.

    Attributes:
        input_ids, labels: int64 (B, L); labels are -100 where nothing is supervised.
        position_ids: int64 (B, L), or (4, B, L) with M-RoPE; restarts with every document.
        cu_seq_lens_q, cu_seq_lens_k: int32 (D + 1,), limits of the documents in the rows laid end to end; 0 ... B * L.
        max_length_q, max_length_k: tokens of the longest document.
        arrays: the family's pixel arrays, uint8 pixels among them, and what its attention needs (see its file).
        page_keys: keys of the documents of each row.
        packs: number of the pack in each row.
        lengths: tokens of the documents of each row, without the padding.
        failures: pages that failed and kept their slot, blank and without a supervised token.
        step: number of the optimizer step; None outside a run.
        step_plan: the plan of that step over all ranks; None where no plan exists.
        num_supervised: supervised tokens of the step over all ranks; None where nobody knows them in advance.
        num_patches: vision patches of the batch, before any merge.
        pixel_shapes: of each row, the shapes of its pixel arrays before they were joined: which pixels are whose.
        unfit: pages that a stream without a plan passed over on the way to these packs, because no pack takes them.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    arrays: Mapping[str, Tensor]
    cu_seq_lens_q: Tensor
    cu_seq_lens_k: Tensor
    max_length_q: int
    max_length_k: int
    page_keys: list[list[str]]
    packs: list[int]
    lengths: list[list[int]]
    failures: list[Failure]
    step: int | None = None
    step_plan: StepPlan | None = None
    num_supervised: int | None = None
    num_patches: int = 0
    pixel_shapes: list[Shapes] = field(default_factory=list)
    unfit: list[Failure] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        if name in self.arrays:
            return self.arrays[name]
        if name not in self:
            raise KeyError(name)
        return getattr(self, "page_keys" if name == "keys" else name)

    def __contains__(self, name: object) -> bool:
        return name in self.arrays or name in _ITEMS

    def __iter__(self) -> Iterator[str]:
        yield from _ITEMS
        yield from self.arrays

    def __len__(self) -> int:
        return len(_ITEMS) + len(self.arrays)

    def __repr__(self) -> str:
        rows, tokens = self.input_ids.shape
        pages = sum(map(len, self.page_keys))
        return (
            f"<Batch of step {self.step}: {rows} packs of {tokens} tokens, {pages} pages, {self.num_patches} patches>"
        )


_ITEMS = {
    "keys" if entry.name == "page_keys" else entry.name: None for entry in fields(Batch) if entry.name != "arrays"
}
