"""PlanSettings: everything that decides a plan beside the data, the family and the tiling policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from wdstream.errors import ConfigError
from wdstream.plan.deal import DealPolicy
from wdstream.plan.filter import Where

Tail = Literal["wrap", "drop", "pad"]
Overlength = Literal["reject", "downscale", "split"]
Unit = Literal["pages", "tokens"]
OnChange = Literal["refuse", "keep", "new_epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a curriculum: for so many epochs, only samples for which `where` holds."""

    epochs: int
    where: str


class PlanKeywords(TypedDict, total=False):
    """`PlanSettings` as keywords: those without a default there are required."""

    sequence_length: int
    max_patches: int
    global_batch_size: int
    seed: int
    shuffle_shards: int
    pool: int
    epochs: int | None
    tail: Tail
    max_pixels: int
    overlength: Overlength
    weights_in: Unit
    where: str | None
    curriculum: Sequence[Phase | Mapping[str, Any]]
    deal: DealPolicy
    on_change: OnChange


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """Settings of a plan.

    Attributes:
        sequence_length: tokens a pack.
        max_patches: vision patches a pack.
        global_batch_size: packs a step, over all ranks and accumulation.
        seed: of the order.
        shuffle_shards: shards whose samples are shuffled together.
        pool: pending samples the packer chooses from.
        epochs: rounds, each of every page as often as its data set's `epochs` says; None goes on for ever.
        tail: the last step of a run of so many epochs: "wrap" fills it from the next epoch, "drop" leaves it out, "pad"
            fills it with packs of no samples.
        max_pixels: images of more pixels are rejected.
        overlength: samples that do not fit a pack: "reject"; "downscale": their images are shrunk to the largest of 63
            sizes that fits (measure.scaled_size); "split": pages with too many tokens are cut between paragraphs into
            samples that each have the page's images (split_pages.py).
        weights_in: unit of the data sets' weights.
        where: only samples for which this expression holds (filter.py).
        curriculum: for the first epochs, further expressions; afterwards all samples that `where` chooses.
        deal: how the packs of a step are shared by ranks (deal.py); does not change the stream.
        on_change: what to do with a saved state when settings or data differ. "refuse" raises. "keep" goes on where the
            state stands; every sample still comes exactly once, so it is refused when the data or their order changed,
            or when pages of which some parts are still to come would be split elsewhere.
            "new_epoch" drops what is left of the epoch and starts the next.

    Raises:
        ConfigError: a value out of range; names it.
    """

    sequence_length: int
    max_patches: int
    global_batch_size: int
    seed: int = 0
    shuffle_shards: int = 16
    pool: int = 128
    epochs: int | None = None
    tail: Tail = "wrap"
    max_pixels: int = 200_000_000
    overlength: Overlength = "reject"
    weights_in: Unit = "pages"
    where: str | None = None
    curriculum: Sequence[Phase | Mapping[str, Any]] = ()
    deal: DealPolicy = "total"
    on_change: OnChange = "refuse"

    def __post_init__(self) -> None:
        for name in ("sequence_length", "max_patches", "global_batch_size", "shuffle_shards", "pool", "max_pixels"):
            _expect_positive(name, getattr(self, name))
        if self.epochs is not None:
            _expect_positive("epochs", self.epochs)
        _expect_one_of("tail", self.tail, ("wrap", "drop", "pad"))
        _expect_one_of("overlength", self.overlength, ("reject", "downscale", "split"))
        _expect_one_of("deal", self.deal, ("total", "phase"))
        _expect_one_of("on_change", self.on_change, ("refuse", "keep", "new_epoch"))
        _expect_one_of("weights_in", self.weights_in, ("pages", "tokens"))
        object.__setattr__(self, "curriculum", tuple(_phase(entry) for entry in self.curriculum))
        if self.where is not None:
            Where(self.where)

    def where_of(self, epoch: int) -> tuple[str, ...]:
        """The expressions that hold in an epoch."""
        found = [] if self.where is None else [self.where]
        for phase in self.phases:
            if epoch < phase.epochs:
                return (*found, phase.where)
            epoch -= phase.epochs
        return tuple(found)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The curriculum."""
        return tuple(_phase(entry) for entry in self.curriculum)


def _phase(entry: Phase | Mapping[str, Any]) -> Phase:
    try:
        phase = entry if isinstance(entry, Phase) else Phase(**entry)
    except TypeError as error:
        raise ConfigError(f"curriculum: {entry!r}: expected epochs and where ({error})") from error
    _expect_positive("curriculum.epochs", phase.epochs)
    Where(phase.where)
    return phase


def _expect_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}: expected an integer of at least 1, found {value!r}")


def _expect_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}: expected {', '.join(map(repr, allowed))}, found {value!r}")
