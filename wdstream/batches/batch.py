"""Batch: what a loader gives, one pack per row: a dict whose items are typed attributes as well.

A dict and not only a mapping: loops of users put items in and take them out, and accelerate and transformers move a
batch by making another of its type from a dict. Printed it is one line, not its tensors.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wdstream.records import Failure, StepPlan

Shapes = Mapping[str, tuple[int, ...]]


class Batch(dict[str, Any]):
    """Packs as tensors: B rows of L tokens, R position rows (1 or 4), D documents over all rows with the padding ones.

    A dict, so that what moves, copies or extends batches takes it: accelerate, transformers, your own loop. Each item
    of the names below is an attribute too, but that "keys" is `page_keys` there.

    Attributes:
        input_ids, labels: int64 (B, L); labels are -100 where nothing is supervised.
        position_ids: int64 (B, L), or (4, B, L) with M-RoPE; restarts with every document.
        cu_seq_lens_q, cu_seq_lens_k: int32 (D + 1,), limits of the documents in the rows laid end to end; 0 ... B * L.
        max_length_q, max_length_k: tokens of the longest document.
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
        without_image: documents that have no image.
    """

    __slots__ = ()
    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    cu_seq_lens_q: Tensor
    cu_seq_lens_k: Tensor
    max_length_q: int
    max_length_k: int
    page_keys: list[list[str]]
    packs: list[int]
    lengths: list[list[int]]
    failures: list[Failure]
    step: int | None
    step_plan: StepPlan | None
    num_supervised: int | None
    num_patches: int
    pixel_shapes: list[Shapes]
    unfit: list[Failure]
    without_image: int

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The family's pixel arrays, uint8 pixels among them, and what its attention needs (see its file)."""
        known = Batch.__annotations__
        return {name: value for name, value in self.items() if name not in known and isinstance(value, Tensor)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self["keys" if name == "page_keys" else name]
        except KeyError:
            raise AttributeError(f"the batch has no {name}; it has {', '.join(self)}") from None

    def __repr__(self) -> str:
        if not self.keys() >= {"step", "input_ids", "keys", "num_patches"}:
            return super().__repr__()  # one that was taken apart
        rows, tokens = self.input_ids.shape
        pages = sum(map(len, self.page_keys))
        return (
            f"<Batch of step {self.step}: {rows} packs of {tokens} tokens, {pages} pages, {self.num_patches} patches>"
        )
