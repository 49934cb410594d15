"""StreamState: all that must be remembered of a run's data, the same on every rank, about 1 kB of JSON.

It says where each dataset is, which samples wait in the pool, and by which settings that was so. It holds no counts of
ranks or workers: those only divide a step's work. `Fingerprints` of all that decides a stream are part of it, as they
are of the states of streams without a plan.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from wdstream.errors import StateError, load_json
from wdstream.plan.protocols import LengthModel, TileModel

VERSION = 1

MEANING = {
    "index": "the data: a shard was added, removed or changed",
    "columns": "what the index counts: tokens of texts, or metadata that `where` names",
    "tokenizer": "the tokenizer",
    "tiling": "the tiling policy",
    "family": "the model family or its image settings",
    "order": "the order: seed, shuffle_shards, weights, where or curriculum",
    "split": "which pages are held out: by `wdstream split`, or `split` of a dataset",
    "packing": "the packing: sequence_length, max_patches, pool, global_batch_size, overlength or max_pixels",
    "pixels": "how images become tiles: data.decode or data.pixels",
    "plan": "the version of wdstream's planning code",
}
"""What a difference in each fingerprint means."""

KEEPS_PAGES = frozenset({"columns", "tokenizer", "tiling", "family", "packing", "pixels", "plan"})
"""Differences under which numbers and order of samples stay, so that every sample still comes exactly once."""

KEEPS_PARTS = frozenset({"pixels"})
"""Those under which pages that are split are cut at the same paragraphs."""


class Fingerprints(dict[str, str]):
    """What decides a stream: names, those of MEANING, to short digests. A plain dict in JSON."""

    @classmethod
    def of(
        cls,
        *,
        index: object,
        order: object,
        packing: object,
        version: str,
        family: LengthModel,
        tiling: TileModel,
        columns: Sequence[str] = (),
        split: Sequence[str] = (),
        pixels: str = "",
    ) -> Self:
        """Fingerprints of a stream.

        Args:
            index: what the data are, as JSON values; likewise the next two.
            order: what decides the order of samples.
            packing: what decides which samples share a pack.
            version: of the code that decides.
            family: lengths.
            tiling: how pages are cut.
            columns: digests of the columns of each dataset; left out when all are empty, as for a stream.
            split: of each dataset, which pages are taken; left out when all are empty, as where none is held out.
            pixels: what changes how images become tiles; left out when empty, as by default.
        """
        return cls(
            index=_digest(index),
            tokenizer=family.text_fingerprint[:16],
            tiling=tiling.fingerprint[:16],
            family=family.fingerprint[:16],
            order=_digest(order),
            packing=_digest(packing),
            plan=version,
            **({"columns": _digest(list(columns))} if any(columns) else {}),
            **({"split": _digest(list(split))} if any(split) else {}),
            **({"pixels": pixels} if pixels else {}),
        )

    def differences(self, saved: Mapping[str, str], meaning: Mapping[str, str] = MEANING) -> dict[str, str]:
        """What differs in a saved state: name of the fingerprint to a sentence.

        States of before wdstream kept digests of columns have no "columns"; for those the data's fingerprint decides.
        """
        names = set(self) | set(saved)
        if "columns" not in saved:
            names.discard("columns")
        ordered = sorted(names, key=lambda name: (name not in MEANING, name))
        return {
            name: f"{name}: expected {saved.get(name)} as in the state, found {self.get(name)}; "
            f"{meaning.get(name, 'an unknown setting')} differs"
            for name in ordered
            if saved.get(name) != self.get(name)
        }

    def check(
        self,
        saved: Mapping[str, str],
        *,
        step: int,
        stream: str,
        remedy: str,
        allow: Collection[str] = (),
        meaning: Mapping[str, str] = MEANING,
    ) -> None:
        """Refuse a saved state of another stream.

        Args:
            saved: its fingerprints.
            step: of the state.
            stream: "plan" or "stream", for the message.
            remedy: what to do, after "Bring the old settings back, or".
            allow: names of fingerprints that may differ.
            meaning: what a difference in each means.

        Raises:
            StateError: names each difference that is not allowed.
        """
        lines = [line for name, line in self.differences(saved, meaning).items() if name not in allow]
        if lines:
            raise StateError(
                f"the saved stream state (step {step}) belongs to another {stream}:\n  "
                + "\n  ".join(lines)
                + f"\nBring the old settings back, or {remedy}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a dataset is: the next sample of its order.

    Attributes:
        epoch: pass over the dataset, from 0 over the whole run.
        block: block of shards within the epoch.
        position: sample within the block.
        count: pages or tokens until here, less a common amount; 0 when datasets are not given by weight.
        part: parts of that sample that came already, when it is a page that is split (split_pages.py).
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
        passes: over the mixture, done; each ends in packs of its own. "round" in JSON.
        cursors: one per dataset.
        pool: global sample numbers that wait in the packer's pool, oldest first; those of parts are split_pages.py's.
        fingerprints: of index, columns, tokenizer, tiling, family, order, packing and plan code; of pixels when not the
            default.
    """

    step: int
    passes: int
    cursors: tuple[Cursor, ...]
    pool: tuple[int, ...]
    fingerprints: Fingerprints

    def to_json(self) -> dict[str, object]:
        """The state as a JSON object."""
        return {
            "version": VERSION,
            "step": self.step,
            "round": self.passes,
            # The part only where there is one, so that states without are as they always were.
            "cursors": [list(astuple(cursor)[: 5 if cursor.part else 4]) for cursor in self.cursors],
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
            saved = load_json(tree) if isinstance(tree, str) else tree
            version = saved["version"]
            if version != VERSION:
                raise StateError(f"stream state of version {version!r}: expected {VERSION}; resume with its wdstream")
            state = cls(
                step=int(saved["step"]),
                passes=int(saved["round"]),
                cursors=tuple(_cursor(*entry) for entry in saved["cursors"]),
                pool=tuple(int(sample) for sample in saved["pool"]),
                fingerprints=Fingerprints({str(name): str(value) for name, value in saved["fingerprints"].items()}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise StateError(f"not a stream state ({cause}); expected what to_json writes") from error
        if min(state.step, state.passes, *state.pool, *(min(astuple(cursor)) for cursor in state.cursors), 0) < 0:
            raise StateError("not a stream state: it holds negative numbers")
        return state


def _cursor(epoch: int, block: int, position: int, count: int, part: int = 0) -> Cursor:
    return Cursor(epoch=int(epoch), block=int(block), position=int(position), count=int(count), part=int(part))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
