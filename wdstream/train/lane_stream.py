"""Training from tars without an index: what a plan knows in advance, the ranks tell each other once a step.

One gather before the step brings its supervised tokens together, by which the loss is divided, and the keys of its
pages, which are written down because nobody could compute them again. A step without a page on any rank is the end of
the data: all ranks see it at the same step.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object

from wdstream.batches.batch import Batch
from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.pipeline.loader import StreamLoader
from wdstream.pipeline.streamed import Lanes
from wdstream.plan.hashing import combine
from wdstream.records import Failure, World
from wdstream.train.loss import find_targets
from wdstream.train.stream import State, StepContents, micro_batches, take


@dataclass(frozen=True, slots=True, kw_only=True)
class RankContents:
    """One rank's part of a step.

    Attributes:
        keys: pack number to the keys of its pages.
        num_supervised, num_tokens, num_patches: of its packs.
        num_failures: pages that could not be read.
        unfit: pages that no pack takes.
    """

    keys: Mapping[int, Sequence[str]]
    num_supervised: int
    num_tokens: int
    num_patches: int
    num_failures: int
    unfit: tuple[Failure, ...]

    @property
    def has_news(self) -> bool:
        """Whether there is a page in it, or one to be told of."""
        return bool(self.num_failures or self.unfit or any(self.keys.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStream:
    """Tars without an index.

    Attributes:
        lanes: of the training data.
        config: of the run.
        world: which process this is.
    """

    lanes: Lanes
    config: Config
    world: World

    @property
    def family(self) -> Family:
        """Of the model."""
        return self.lanes.settings.family

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of the stream."""
        return self.lanes.fingerprints

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]:
        """How many tars there are."""
        return {"tars": {"shards": len(self.lanes.urls)}}

    def check(self, state: State) -> None:
        """Refuse a state of another stream. Raises StateError."""
        self.lanes.check(state)

    def total_steps(self, state: State | None) -> int | None:
        """Nobody knows before the data are read."""
        return None

    @contextmanager
    def open(self, state: State | None, known_bad: Sequence[Failure]) -> Iterator["LaneSteps"]:
        """This rank's loader."""
        data = self.config.data
        loader = self.lanes.loader(
            world=self.world,
            state=state,
            workers=data.workers,
            prefetch=data.prefetch,
            micro_batch_size=self.config.train.micro_batch_size,
            known_bad={failure.key: failure.reason for failure in known_bad},
        )
        with loader:
            yield LaneSteps(self, loader)


class LaneSteps:
    """An open LaneStream."""

    def __init__(self, stream: LaneStream, loader: StreamLoader) -> None:
        self._stream = stream
        self._loader = loader
        self._micro_batches = micro_batches(stream.config, stream.world)
        self._saved = loader.state_dict()  # after the last step that held something
        fingerprints = "".join(stream.fingerprints.values()).encode()
        self._settings = combine(*(int.from_bytes(fingerprints[at : at + 8]) for at in range(0, len(fingerprints), 8)))

    def take(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a step."""
        return take(self._loader, step, self._micro_batches)

    def contents(self, step: int, batches: Sequence[Batch]) -> StepContents | None:
        """What the ranks found, by one gather."""
        parts: list[RankContents] = gather_object([rank_contents(batches)])
        if not any(part.has_news for part in parts):
            return None
        self._saved = self._loader.state_dict()
        return join_contents(step, parts, digest=combine(self._settings, step))

    def state(self) -> State:
        """The lanes of all ranks as one state, by one gather."""
        return self._stream.lanes.saved_state(gather_object([self._saved]))


def rank_contents(batches: Sequence[Batch]) -> RankContents:
    """What one rank's micro-batches hold."""
    return RankContents(
        keys={number: keys for batch in batches for number, keys in zip(batch.packs, batch.page_keys, strict=True)},
        num_supervised=sum(find_targets(batch.labels).num_supervised for batch in batches),
        num_tokens=sum(length for batch in batches for lengths in batch.lengths for length in lengths),
        num_patches=sum(batch.num_patches for batch in batches),
        num_failures=sum(len(batch.failures) for batch in batches),
        unfit=tuple(page for batch in batches for page in batch.unfit),
    )


def join_contents(step: int, parts: Sequence[RankContents], *, digest: int) -> StepContents:
    """The step over all ranks."""
    keys = dict(sorted(item for part in parts for item in part.keys.items()))
    tokens = [part.num_tokens for part in parts]
    return StepContents(
        step=step,
        num_packs=len(keys),
        num_supervised=sum(part.num_supervised for part in parts),
        num_pages=sum(map(len, keys.values())),
        num_tokens=sum(tokens),
        num_patches=sum(part.num_patches for part in parts),
        digest=digest,
        imbalance=max(tokens) * len(tokens) / max(sum(tokens), 1),
        keys=keys,
        unfit=tuple(page for part in parts for page in part.unfit),
    )
