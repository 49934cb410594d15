"""From the slots of a pack to a pack of arrays: decode, tile, label, encode. Pure, so it runs in any thread.

    a source's task ──► read ──► PackSlots ──► for each slot: render_chat ► render ► (take_part) ► label_page
                                               of a page that failed: a blank sample        ──► encode_pack

One way for every source: a plan (plan_source.py) and lanes (streamed.py) differ only in `read`, how a task becomes
slots. A slot says how long its page is in the pack. A page that fails keeps its slot: the blank sample there has its
tokens, tiles and patches and nothing supervised, so no other page moves. What is not a page's own fault, a missing
shard or a stale index, is fatal.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from wdstream.batches.collate import encode_pack
from wdstream.batches.sample import build_sample, build_samples
from wdstream.errors import PageError, ShardError
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.nodes.tile import TileRenderer
from wdstream.plan.sample_lengths import FULL_SCALE, scaled_size
from wdstream.plan.split_pages import PagePart
from wdstream.records import (
    IGNORED,
    EncodedPack,
    Failure,
    ImageSegment,
    LabelledPage,
    Page,
    Sample,
    Size,
    StepPlan,
    TextSegment,
    TiledPage,
)
from wdstream.text.paragraphs import page_paragraphs
from wdstream.tiling.labels import label_page

Task = TypeVar("Task")
WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What a pack reserves for a page, and the page.

    Attributes:
        key: the page's key.
        image_sizes: (width, height) in pixels of each of its images.
        tokens, patches: its length in the pack.
        page: the page, or why there is none.
        scale: its images are first shrunk to scale / 64 of their sides.
        part: the part of the page that is in this slot; None for a whole page.
        sample: the page's sample number in the plan, -1 without one.
        shards: the folder whose index said the length; None where it was measured from the page.
    """

    key: str
    image_sizes: tuple[Size, ...]
    tokens: int
    patches: int
    page: Page | PageError
    scale: int = FULL_SCALE
    part: PagePart | None = None
    sample: int = -1
    shards: Path | str | None = None

    @property
    def scaled_sizes(self) -> tuple[Size, ...]:
        """(width, height) of its images as they are tiled."""
        return tuple(scaled_size(width, height, self.scale) for width, height in self.image_sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSlots:
    """The pages of one pack, read.

    Attributes:
        number: the pack's number in the run.
        slots: its pages, in order.
        step: the plan of its step, or the step's number where there is no plan; None outside a run.
        failures: pages that failed before they had a slot.
        unfit: pages that were passed over because no pack takes them.
    """

    number: int
    slots: tuple[Slot, ...]
    step: StepPlan | int | None = None
    failures: tuple[Failure, ...] = ()
    unfit: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackBuilder(Generic[Task]):
    """How the packs of a source become arrays.

    Attributes:
        family: token ids and sizes.
        renderer: how pages become tiles.
        read: the slots of one of the source's tasks.
    """

    family: Family
    renderer: TileRenderer
    read: Callable[[Task], PackSlots]

    def __call__(self, task: Task) -> EncodedPack:
        """All pages of a pack as arrays, in order.

        Raises:
            ShardError: a shard is missing or damaged as a whole, or a page is not as long as planned.
        """
        pack = self.read(task)
        pages: list[LabelledPage | Sample] = []
        failures = list(pack.failures)
        for slot in pack.slots:
            try:
                pages.append(label_page(self.tiled(slot)))
            except PageError as error:
                pages.append(self.blank(slot))
                failures.append(Failure(key=slot.key, sample=slot.sample, reason=str(error)))
        # All texts of the pack go to the tokenizer in one call.
        built = iter(build_samples([page for page in pages if isinstance(page, LabelledPage)], self.family))
        samples = [page if isinstance(page, Sample) else next(built) for page in pages]
        for slot, sample in zip(pack.slots, samples, strict=True):
            if (len(sample.input_ids), sample.num_patches) != (slot.tokens, slot.patches):
                raise ShardError(_wrong_length(slot, sample, self.family))
        return encode_pack(
            samples, self.family, number=pack.number, step=pack.step, failures=failures, unfit=pack.unfit
        )

    def tiled(self, slot: Slot) -> TiledPage:
        """The page of a slot, or the part of it, with its tiles cut.

        Raises:
            PageError: the page is bad; put `blank` in its place.
            ShardError: the page has other paragraphs than were planned.
        """
        if isinstance(slot.page, PageError):
            raise slot.page
        tiled = self.renderer.render(render_chat(slot.page, self.family), scale=slot.scale)
        return tiled if slot.part is None else take_part(tiled, slot.part)

    def blank(self, slot: Slot) -> Sample:
        """A sample of the slot's shape: its image blocks, then padding ids in place of the text."""
        bare = build_sample(label_page(self.blank_page(slot)), self.family)
        text = np.full(max(slot.tokens - len(bare.input_ids), 0), self.family.pad_id, dtype=np.int64)
        ids = np.concatenate([bare.input_ids[:-1], text, bare.input_ids[-1:]])
        return replace(bare, input_ids=ids, labels=np.full_like(ids, IGNORED))

    def blank_page(self, slot: Slot) -> TiledPage:
        """The tiles of `blank`: white, and no text."""
        plans = tuple(self.renderer.tiling.plan_tiles(width, height) for width, height in slot.scaled_sizes)
        return TiledPage(
            key=slot.key if slot.part is None else slot.part.name(slot.key),
            plans=plans,
            tiles=tuple(
                tuple(np.full((height, width, 3), WHITE, dtype=np.uint8) for width, height in plan.sizes)
                for plan in plans
            ),
            segments=tuple(ImageSegment(index=index) for index in range(len(plans))),
        )


def take_part(page: TiledPage, part: PagePart) -> TiledPage:
    """The part, under a name of its own; each paragraph is a segment, and so tokenised by itself, as it was counted.

    Raises:
        ShardError: the page has other paragraphs than the index says.
    """
    paragraphs = page_paragraphs(page.segments)
    if len(paragraphs) != part.num_paragraphs:
        raise ShardError(
            f"page {page.key!r}: planned {part.num_paragraphs} paragraphs, found {len(paragraphs)}; the index counts "
            "those of other shards. Count again: `wdstream lengths SHARDS --tokenizer PATH --paragraphs`"
        )
    texts = (TextSegment(text=text) for text in paragraphs[part.begin : part.end])
    segments = (*page.segments[:-1], *texts)
    return replace(page, key=part.name(page.key), segments=segments, continues=not part.is_last)


def _wrong_length(slot: Slot, sample: Sample, family: Family) -> str:
    found = f"found {sample.num_tokens} and {sample.num_patches} by family {family.name} ({family.processor_version})"
    if slot.shards is None:
        return (
            f"page {sample.key!r}: measured {slot.tokens} tokens and {slot.patches} patches from its header, {found}: "
            "please report this page"
        )
    paragraphs = " --paragraphs" if slot.part is not None else ""
    return (
        f"page {sample.key!r} of {slot.shards}: planned {slot.tokens} tokens and {slot.patches} patches, {found}; the "
        f"index or its token column is not of these shards and this tokenizer. `wdstream verify {slot.shards} "
        f"--tokenizer {family.model_dir}` names every page that is not as the index says, `wdstream lengths "
        f"{slot.shards} --tokenizer {family.model_dir}{paragraphs}` counts again; if `wdstream "
        f"doctor {family.model_dir}` fails, the model's own rules are not those that wdstream knows"
    )
