"""StreamState: all that must be remembered of a run's data, the same on every rank, about 1 kB of JSON.

It says where each data set stands, which samples wait in the pool, and by which settings that was so. It holds no
counts of ranks or workers: those only divide a step's work.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from wdstream.errors import StateError

VERSION = 1

MEANING = {
    "index": "the data: a shard was added, removed or changed",
    "tokenizer": "the tokenizer",
    "tiling": "the tiling policy",
    "family": "the model family or its image settings",
    "order": "the order: seed, shuffle_shards, weights, where or curriculum",
    "packing": "the packing: sequence_length, max_patches, pool, global_batch_size, overlength or max_pixels",
    "pixels": "how images become tiles: data.decode or data.pixels",
    "plan": "the version of wdstream's planning code",
}
"""What a difference in each fingerprint means."""

KEEPS_PAGES = frozenset({"tokenizer", "tiling", "family", "packing", "pixels", "plan"})
"""Differences under which numbers and order of samples stay, so that going on is still exactly once."""

KEEPS_PARTS = frozenset({"pixels"})
"""Those under which pages that are split are cut at the same paragraphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a data set stands: the next sample of its order.

    Attributes:
        epoch: pass over the data set, from 0 over the whole run.
        block: block of shards within the epoch.
        position: sample within the block.
        count: pages or tokens given so far, less a common amount; 0 when data sets are not given by weight.
        part: parts of that sample given already, when it is a page that is split (split_pages.py).
    """

    epoch: int = 0
    block: int = 0
    position: int = 0
    count: int = 0
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """The state before step `step`.

    Attributes:
        step: steps done; the next step has this number.
        round: passes over the mixture done, each pass ending in packs of its own.
        cursors: one a data set.
        pool: global sample numbers that wait in the packer's pool, oldest first; those of parts are split_pages.py's.
        fingerprints: of index, tokenizer, tiling, family, order, packing and plan code; of pixels when not the default.
    """

    step: int
    round: int
    cursors: tuple[Cursor, ...]
    pool: tuple[int, ...]
    fingerprints: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "version": VERSION,
            "step": self.step,
            "round": self.round,
            "cursors": [_fields(at) for at in self.cursors],
            "pool": list(self.pool),
            "fingerprints": dict(self.fingerprints),
        }

    def dumps(self) -> str:
        """The JSON text, without spaces."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @classmethod
    def from_json(cls, tree: Mapping[str, Any] | str) -> "StreamState":
        """Read a JSON object, or its text.

        Raises:
            StateError: it is no state, or one of another version.
        """
        try:
            saved = json.loads(tree) if isinstance(tree, str) else tree
            version = saved["version"]
            if version != VERSION:
                raise StateError(f"stream state of version {version!r}: expected {VERSION}; resume with its wdstream")
            state = cls(
                step=int(saved["step"]),
                round=int(saved["round"]),
                cursors=tuple(_cursor(*entry) for entry in saved["cursors"]),
                pool=tuple(int(sample) for sample in saved["pool"]),
                fingerprints={str(name): str(value) for name, value in saved["fingerprints"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise StateError(f"not a stream state ({found}); expected what to_json writes") from error
        if min(state.step, state.round, *state.pool, *(min(_fields(at)) for at in state.cursors), 0) < 0:
            raise StateError("not a stream state: it holds negative numbers")
        return state

    def differences(self, fingerprints: Mapping[str, str]) -> dict[str, str]:
        """What differs from the plan of these fingerprints: name of the fingerprint to a sentence."""
        names = sorted(set(self.fingerprints) | set(fingerprints), key=lambda name: (name not in MEANING, name))
        return {
            name: f"{name}: expected {self.fingerprints.get(name)} as in the state, found {fingerprints.get(name)}; "
            f"{MEANING.get(name, 'an unknown setting')} differs"
            for name in names
            if self.fingerprints.get(name) != fingerprints.get(name)
        }

    def check(self, fingerprints: Mapping[str, str], *, allow: Collection[str] = ()) -> None:
        """Refuse a state of another plan.

        Args:
            fingerprints: of this plan.
            allow: names of fingerprints that may differ.

        Raises:
            StateError: names each difference that is not allowed.
        """
        found = {name: text for name, text in self.differences(fingerprints).items() if name not in allow}
        if found:
            raise StateError(
                f"the saved stream state (step {self.step}) belongs to another plan:\n  "
                + "\n  ".join(found.values())
                + "\nBring the old settings back, or allow the change: on_change 'keep' goes on where it stands (not "
                "when index or order differ, nor in the middle of split pages that would now be cut elsewhere), "
                "'new_epoch' starts a new pass over the data"
            )


def _cursor(epoch: int, block: int, position: int, count: int, part: int = 0) -> Cursor:
    return Cursor(epoch=int(epoch), block=int(block), position=int(position), count=int(count), part=int(part))


def _fields(at: Cursor) -> list[int]:
    """As in JSON: the part only where there is one, so that states without are as they always were."""
    return [at.epoch, at.block, at.position, at.count, *([at.part] if at.part else [])]
