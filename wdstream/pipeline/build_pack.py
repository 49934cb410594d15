"""From a pack of the plan to a pack of arrays: read, decode, tile, label, encode. Pure, so it runs in any thread.

    PackPlan ──► read_pages ──► for each: SampleBuilder.label, or .blank ──► SampleBuilder.build_all ──► encode_pack

The pages of a pack are read together: shards on an object store then answer side by side, not one after the other. A
page that fails keeps its slot (build_sample.py). What is not a page's own fault, a missing shard or a stale index, is
fatal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wdstream.batches.pack import encode_pack
from wdstream.errors import PageError, RowError, ShardError
from wdstream.families.base import Family
from wdstream.pipeline.build_sample import SampleBuilder, Slot
from wdstream.pipeline.plan_source import PackTask
from wdstream.plan.datasets import Parts
from wdstream.plan.sample_lengths import FULL_SCALE
from wdstream.plan.split_pages import PagePart
from wdstream.proofs.lengths import processor_version
from wdstream.records import EncodedPack, Failure, LabelledPage, PackPlan, Page, Sample
from wdstream.shards.reader import Shards, name_of_row


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPack:
    """A pack as arrays, and its step.

    Attributes:
        step: the step it belongs to.
        num_supervised: supervised tokens of the step over all ranks; None where nobody knows them in advance.
        num_patches: vision patches of the pack.
        pack: the arrays.
        unfit: pages that a stream without a plan passed over on the way to this pack, because no pack takes them.
    """

    step: int
    num_supervised: int | None
    num_patches: int
    pack: EncodedPack
    unfit: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackBuilder:
    """What building a pack takes beside the pack itself.

    Attributes:
        datasets: the data sets of the plan.
        parts: what sample numbers stand for: rows of data sets, and parts of pages that are split.
        samples: how a page becomes a sample.
        known_bad: reasons of pages that failed before, by sample number; they are not read again.
    """

    datasets: Sequence[Shards]
    parts: Parts
    samples: SampleBuilder
    known_bad: Mapping[int, str] = field(default_factory=dict)

    def __call__(self, task: PackTask) -> BuiltPack:
        """`build`, with the step kept beside the pack."""
        num_patches, pack = sum(task.pack.patches), self.build(task.pack)
        return BuiltPack(step=task.step, num_supervised=task.num_supervised, num_patches=num_patches, pack=pack)

    def build(self, pack: PackPlan) -> EncodedPack:
        """All samples of a pack as arrays, in plan order.

        Raises:
            ShardError: a shard is missing or damaged as a whole, or a page is not as long as planned.
        """
        pages: list[LabelledPage | Sample] = []
        failures: list[Failure] = []
        scales = pack.scales or (FULL_SCALE,) * len(pack.samples)
        read = self._read(pack)
        for number, tokens, scale in zip(pack.samples, pack.tokens, scales, strict=True):
            dataset, row = self.parts.locate(number)
            shards, page, part = self.datasets[dataset], self.parts.page_of(number), self.parts.part_of(number)
            try:
                pages.append(self.samples.label(_fine(read[page]), scale=scale, part=part))
            except PageError as error:
                slot = slot_of(shards, row, tokens=tokens, scale=scale, part=part)
                pages.append(self.samples.blank(slot))
                failures.append(Failure(key=name_of_row(shards, row), sample=page, reason=str(error)))
        samples = self.samples.build_all(pages)
        for number, tokens, patches, sample in zip(pack.samples, pack.tokens, pack.patches, samples, strict=True):
            if (sample.num_tokens, sample.num_patches) != (tokens, patches):
                shards, is_part = self.datasets[self.parts.locate(number)[0]], self.parts.part_of(number) is not None
                raise ShardError(_stale(shards, self.samples.family, sample, tokens, patches, is_part))
        return encode_pack(samples, self.samples.family, number=pack.number, failures=failures)

    def _read(self, pack: PackPlan) -> dict[int, Page | PageError]:
        """The pages of a pack by their sample numbers, those of one data set together; errors in place of bad ones."""
        numbers = dict.fromkeys(self.parts.page_of(number) for number in pack.samples)
        read: dict[int, Page | PageError] = {
            number: RowError(self.known_bad[number]) for number in numbers if number in self.known_bad
        }
        rows: dict[int, dict[int, int]] = {}  # of each data set: sample number -> row
        for number in numbers:
            if number not in read:
                dataset, row = self.parts.locate(number)
                rows.setdefault(dataset, {})[number] = row
        for dataset, wanted in rows.items():
            read.update(zip(wanted, self.datasets[dataset].read_pages([*wanted.values()]), strict=True))
        return read


def _fine(page: Page | PageError) -> Page:
    if isinstance(page, PageError):
        raise page
    return page


def slot_of(shards: Shards, row: int, *, tokens: int, scale: int = FULL_SCALE, part: PagePart | None = None) -> Slot:
    """What a pack reserves for a row, or for one part of it, from the index alone."""
    begin, end = int(shards.image_start[row]), int(shards.image_start[row + 1])
    widths, heights = shards.image_width[begin:end].tolist(), shards.image_height[begin:end].tolist()
    key = name_of_row(shards, row) if part is None else part.name(name_of_row(shards, row))
    return Slot(key=key, image_sizes=tuple(zip(widths, heights, strict=True)), tokens=tokens, scale=scale)


def _stale(shards: Shards, family: Family, sample: Sample, tokens: int, patches: int, is_part: bool) -> str:
    paragraphs = " --paragraphs" if is_part else ""
    return (
        f"page {sample.key!r} of {shards.path}: planned {tokens} tokens and {patches} patches, found "
        f"{sample.num_tokens} and {sample.num_patches} by family {family.name} ({processor_version(family)}); the "
        f"index or its token column is not of these shards and this tokenizer. Run `wdstream index {shards.path} "
        f"--rebuild`, then `wdstream lengths {shards.path} --tokenizer {family.model_dir}{paragraphs}`; if `wdstream "
        f"doctor {family.model_dir}` fails, the model's own rules are not those that wdstream knows"
    )
