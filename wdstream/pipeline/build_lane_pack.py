"""From a pack of a lane, its pages in memory already, to a pack of arrays. Pure, so it runs in any thread.

    LanePack ──► for each page: SampleBuilder.label, or .blank ──► SampleBuilder.build_all ──► encode_pack

A page that fails keeps its slot, as in build_pack.py. Pages that the lane could not even measure had no slot yet; they
are told among the pack's failures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wdstream.batches.pack import encode_pack
from wdstream.errors import PageError, RowError, ShardError
from wdstream.nodes.lane_source import LanePack
from wdstream.nodes.measure import MeasuredPage
from wdstream.pipeline.build_pack import BuiltPack
from wdstream.pipeline.build_sample import SampleBuilder, Slot
from wdstream.records import Failure, LabelledPage, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePackBuilder:
    """What building a pack of a lane takes beside the pack itself.

    Attributes:
        samples: how a page becomes a sample.
        global_batch_size: packs a step.
        known_bad: reasons of pages that failed before, by key; they stay blank.
    """

    samples: SampleBuilder
    global_batch_size: int
    known_bad: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, pack: LanePack) -> BuiltPack:
        """All pages of a pack as arrays, in order.

        Raises:
            ShardError: a page is not as long as it was measured.
        """
        labelled: list[LabelledPage | Sample] = []
        failures = list(pack.bad)
        for page in pack.pages:
            try:
                labelled.append(self._label(page))
            except PageError as error:
                slot = Slot(key=page.key, image_sizes=page.image_sizes, tokens=page.tokens, scale=page.scale)
                labelled.append(self.samples.blank(slot))
                failures.append(Failure(key=page.key, sample=-1, reason=str(error)))
        built = self.samples.build_all(labelled)
        for page, sample in zip(pack.pages, built, strict=True):
            if (sample.num_tokens, sample.num_patches) != (page.tokens, page.patches):
                raise ShardError(
                    f"page {page.key!r}: measured {page.tokens} tokens and {page.patches} patches from its header, "
                    f"found {sample.num_tokens} and {sample.num_patches}: please report this page"
                )
        encoded = encode_pack(built, self.samples.family, number=pack.number, failures=failures)
        step, num_patches = pack.number // self.global_batch_size, sum(page.patches for page in pack.pages)
        return BuiltPack(step=step, num_supervised=None, num_patches=num_patches, pack=encoded, unfit=pack.unfit)

    def _label(self, page: MeasuredPage) -> LabelledPage:
        if page.key in self.known_bad:
            raise RowError(self.known_bad[page.key])
        return self.samples.label(page.page, scale=page.scale)
