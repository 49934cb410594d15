"""Does a packed row compute what its documents compute alone? Measured on the model itself, in a few forward passes.

Two figures a packing recipe must get right, both silent when it does not:

    leak        max |change of a document's logits| when ids and pixels of ANOTHER document are changed; 0 when isolated
    difference  max |logits of a document in the pack - logits of the document alone|; rounding only when equal

A mask of ones, a cache, positions that do not restart, or M-RoPE positions without the text row: each shows here.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from wdstream.batches.collate import collate, encode_pack
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.records import Ints, Sample

Alter = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What `measure_isolation` found; logits are float32, so figures are in logit units.

    Attributes:
        leak: largest change of any document by changing another.
        leaky_pair: keys of (changed, seen in) where the leak is largest, or None when it is 0.
        difference: largest distance of any document to itself alone.
        different_key: key of the document where that is.
        scale: largest absolute logit, to judge the figures by.
    """

    leak: float
    leaky_pair: tuple[str, str] | None
    difference: float
    different_key: str
    scale: float


def measure_isolation(
    model: torch.nn.Module, family: Family, samples: Sequence[Sample], *, alter: Alter | None = None
) -> Isolation:
    """Run a pack of `samples` once as it is, once per document with that document changed, and each document alone.

    Args:
        model: in eval mode; its device and dtype are used.
        family: encodes and collates.
        samples: at least two documents.
        alter: applied to the keyword arguments of every packed forward pass; tests seed faults with it.
    """
    change = alter or (lambda inputs: inputs)
    packed = change(_inputs(model, family, samples))
    logits = _logits(model, packed)
    leak, pair = 0.0, None
    for number, sample in enumerate(samples):
        others = [*samples[:number], changed_sample(sample, family), *samples[number + 1 :]]
        moved = _logits(model, change(_inputs(model, family, others)))
        for place, span in enumerate(_spans(samples)):
            size = _distance(moved[span], logits[span]) if place != number else 0.0
            if size > leak:
                leak, pair = size, (sample.key, samples[place].key)
    difference, different = 0.0, samples[0].key
    for sample, span in zip(samples, _spans(samples), strict=True):
        size = _distance(_logits(model, _inputs(model, family, [sample])), logits[span])
        if size > difference:
            difference, different = size, sample.key
    return Isolation(
        leak=leak,
        leaky_pair=pair,
        difference=difference,
        different_key=different,
        scale=float(logits.abs().max()),
    )


def random_model(config: Any, seed: int, attn: str | dict[str, str] | None = None) -> Any:
    """A float32 model of a transformers `config` with seeded random weights, to measure on.

    Packing depends on masks and positions, not on trained values. The global random state is left as it was.
    """
    from transformers import AutoModelForImageTextToText

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation=attn)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Run what asks for `torch.compile` as plain PyTorch.

    Flex attention is right without compiling too, only slow; so a proof on CPU needs no C++ compiler and no minutes.
    """
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # of what torch and transformers do on the way there
        yield


def changed_sample(sample: Sample, family: Family) -> Sample:
    """The same shape with other contents: every id that is not structural is another one, every pixel its negative."""
    return replace(
        sample,
        input_ids=_other_ids(sample.input_ids, family),
        tiles=tuple(255 - tile for tile in sample.tiles),
    )


def _other_ids(ids: Ints, family: Family) -> Ints:
    """Ids moved to another plain id of the same sample's range; structural ones stay, so that the images stay."""
    structural = np.array(sorted({*family.structural_ids, family.eos_id}), dtype=np.int64)
    plain = np.setdiff1d(np.arange(family.encoder.vocab_size), structural)
    places = np.searchsorted(plain, ids) % len(plain)
    return np.where(np.isin(ids, structural), ids, plain[(places + len(plain) // 2) % len(plain)])


def _inputs(model: torch.nn.Module, family: Family, samples: Sequence[Sample]) -> dict[str, Any]:
    weight = next(model.parameters())
    batch = collate([encode_pack(samples, family)], family)
    inputs = family.model_inputs(batch, device=weight.device, dtype=weight.dtype)
    return {key: value for key, value in inputs.items() if key != "labels"}


def _logits(model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """float32 (L, vocabulary) of the single row."""
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs).logits[0]
    return logits.float()


def _distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest absolute difference; infinite where a logit is not a number."""
    size = float((first - second).abs().max())
    return math.inf if math.isnan(size) else size


def _spans(samples: Sequence[Sample]) -> Iterator[slice]:
    """Where each document is in the row."""
    start = 0
    for sample in samples:
        yield slice(start, start + sample.num_tokens)
        start += sample.num_tokens


def require_isolation(
    model: torch.nn.Module,
    family: Family,
    samples: Sequence[Sample],
    *,
    max_leak: float = 0.0,
    tolerance: float = 1e-5,
    alter: Alter | None = None,
) -> Isolation:
    """Refuse to continue with a model that mixes packed documents.

    Args:
        model: in eval mode; its device and dtype are used.
        family: of the model.
        samples: at least two documents.
        max_leak: largest change of a document's logits by changing another document; 0 is bitwise.
        tolerance: largest distance of a document's logits to those of the document alone. In bfloat16 a few hundredths
            of the largest logit are rounding.
        alter: as in `measure_isolation`.

    Returns:
        The measured figures.

    Raises:
        FamilyError: names the documents and the figure.
    """
    found = measure_isolation(model, family, samples, alter=alter)
    if found.leak > max_leak:
        raise FamilyError(
            f"{family.name}: packed documents see each other: changing {found.leaky_pair} moves logits by "
            f"{found.leak:.3g} (allowed {max_leak:.3g}, largest logit {found.scale:.3g}); use one of the attention "
            f"implementations {', '.join(family.attention)}, no attention_mask, use_cache=False"
        )
    if found.difference > tolerance:
        raise FamilyError(
            f"{family.name}: document '{found.different_key}' computes something else in a pack than alone: logits "
            f"differ by {found.difference:.3g} (allowed {tolerance:.3g}, largest logit {found.scale:.3g}); check that "
            "position_ids reach the model with all their rows"
        )
    return found
