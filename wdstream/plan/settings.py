"""PlanSettings: everything that decides a plan except the data, the family and the tiling policy."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from wdstream.plan.filter import Where
from wdstream.plan.packer import Budget
from wdstream.records import MAX_PIXELS
from wdstream.settings import Settings


def _check_where(expression: str) -> str:
    Where(expression)
    return expression


WhereText = Annotated[str, AfterValidator(_check_where)]
"""The text of a `where:` expression (filter.py), checked."""

Capacity = Annotated[int, Field(gt=0, le=(1 << 63) - 1)]
"""Of a pack, in tokens or patches: within 64 bits."""
MAX_BATCH = 1 << 20
"""Bound of the packs per step: a step is planned before any of it is computed, so that more would look like a hang."""

OnChange = Literal["refuse", "keep", "new_epoch"]
DealPolicy = Literal["total", "phase"]


class Phase(Settings):
    """One part of a curriculum: for its epochs, only pages for which `where` holds."""

    epochs: PositiveInt
    where: WhereText


class PackSettings(Settings):
    """What decides packs, whether planned or streamed: the budget of a pack, and what it is filled from."""

    sequence_length: Capacity = 8192
    """Tokens per pack."""
    max_patches: Capacity = 40_000
    """Vision patches per pack."""
    global_batch_size: Annotated[int, Field(gt=0, le=MAX_BATCH)] = 16
    """Packs per step, over all ranks and accumulation."""
    seed: int = Field(default=0, ge=0)
    """Seed of the order of pages."""
    epochs: PositiveInt | None = None
    """Passes over the data, each with every page as often as its dataset's `epochs` says; None never ends."""
    pool: PositiveInt = 128
    """Pending samples that the packer chooses from."""
    max_pixels: PositiveInt = MAX_PIXELS
    """Pages with an image of more pixels are left out; none is decoded."""

    @property
    def budget(self) -> Budget:
        """What a pack holds at most."""
        return Budget(tokens=self.sequence_length, patches=self.max_patches)

    @property
    def packing(self) -> list[object]:
        """What decides which samples share a pack, for the fingerprint in saved states.

        A setting that is added joins only where it is not at its default, so that states of before stay valid.
        """
        return [self.sequence_length, self.max_patches, self.global_batch_size, self.pool, self.max_pixels]


class PlanSettings(PackSettings):
    """What decides a plan, besides data, family and tiling policy."""

    tail: Literal["wrap", "drop", "pad"] = "wrap"
    """The last step of a run with `epochs`: filled from the next epoch, dropped, or padded with packs of no pages."""
    shuffle_shards: PositiveInt = 16
    """Shards whose samples are shuffled together."""
    overlength: Literal["reject", "downscale", "split"] = "reject"
    """Pages too long for a pack: left out and listed; or their images shrunk to the largest of 63 sizes that fits; or
    their text cut between paragraphs into samples that each have the page's images (split_pages.py), of shards that
    `wdstream lengths --paragraphs` counted. What does not help is left out."""
    deal: DealPolicy = "total"
    """How ranks share a step's packs: total evens out whole steps (DDP), phase the vision and the language part of each
    micro-step (FSDP). Does not change the stream."""
    on_change: OnChange = "refuse"
    """What to do with a saved state when settings or data differ: refuse it; keep, which continues where it is and
    still brings every sample exactly once (refused when the data or their order changed, or in the middle of split
    pages that would now be split elsewhere); or new_epoch, which starts a new pass over the data."""
    weights_in: Literal["pages", "tokens"] = "pages"
    """What the weights of datasets count."""
    where: WhereText | None = None
    """Only pages for which this holds, such as `text_tokens > 50 and language == "de"`; see filter.py."""
    curriculum: tuple[Phase, ...] = ()
    """Further conditions for the first epochs, one phase after the other."""

    @property
    def packing(self) -> list[object]:
        """As of PackSettings, and what becomes of samples that are too long."""
        return [*super().packing, self.overlength]

    @property
    def expressions(self) -> tuple[str, ...]:
        """All expressions that hold in any epoch."""
        always = () if self.where is None else (self.where,)
        return (*always, *(phase.where for phase in self.curriculum))

    def where_of(self, epoch: int) -> tuple[str, ...]:
        """The expressions that hold in an epoch."""
        always = () if self.where is None else (self.where,)
        for phase in self.curriculum:
            if epoch < phase.epochs:
                return (*always, phase.where)
            epoch -= phase.epochs
        return always
