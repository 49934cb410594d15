"""The model writes a page: prompt from the training ids, greedy decoding, up to EOS.

    a page      images and labels | its text EOS                    prompt | what is written
    a chat row  turns and images, the last answer's opening | the last answer

The prompt is exactly what training sees: the same ids and pixels, up to where the text begins that is supervised last.
From there `model.generate` continues by itself with a cache. Settings of generation that a model folder brings along
(sampling, penalties) are left out; only its end tokens count, in addition to EOS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from wdstream.batches.collate import collate
from wdstream.errors import RowError
from wdstream.families.base import Family
from wdstream.records import IGNORED, EncodedPack, Ints

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKED_ONLY = (
    *("labels", "position_ids", "attention_mask", "use_cache"),
    *("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
)
"""Arguments of a training pass that say how documents are packed, which a single document does not need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model sees of a page, and what it should write.

    Attributes:
        pack: the page's arrays up to where its text begins; one document.
        reference: int64, ids of the text that should follow, without EOS.
    """

    pack: EncodedPack
    reference: Ints


def cut_prompt(pack: EncodedPack, family: Family) -> Prompt:
    """Cut a page where the text begins that is supervised last.

    Args:
        pack: of one document.
        family: of the model.

    Raises:
        RowError: nothing comes before that text, or images come after it, or no text is supervised at all.
    """
    is_supervised = pack.labels != IGNORED
    words = np.flatnonzero(is_supervised & (pack.input_ids != family.eos_id))
    if not len(words):
        raise RowError("no text of it is supervised, so there is nothing to compare with")
    end = int(words[-1]) + 1
    start = int(np.flatnonzero(~is_supervised[:end])[-1]) + 1  # the first token of a document is never supervised
    if start <= max(1, family.prefix_tokens):
        raise RowError("its text has nothing before it, neither image nor turn, that the model could continue")
    if (pack.input_ids[end:] == family.image_id).any():
        raise RowError("it has images after its last text, which a prompt would leave out")
    front = replace(
        pack,
        input_ids=pack.input_ids[:start],
        labels=pack.labels[:start],
        position_ids=pack.position_ids[:, :start],
        lengths=(start,),
    )
    reference = pack.input_ids[start:end]
    return Prompt(pack=front, reference=reference[reference != family.eos_id])


def prompt_inputs(pack: EncodedPack, family: Family, *, device: torch.device, dtype: torch.dtype) -> dict[str, object]:
    """Keyword arguments of `model.generate` for a prompt: ids and pixels as in training, no packing.

    Args:
        pack: of one document.
        family: of the model.
        device: to move to.
        dtype: of pixels.
    """
    batch = collate([pack], family)
    inputs = family.model_inputs(batch, device=device, dtype=dtype)
    arrays = family.prompt_arrays(batch["input_ids"].numpy(), batch["labels"].numpy())
    return {
        **{key: value for key, value in inputs.items() if key not in PACKED_ONLY},
        **{key: torch.from_numpy(array).to(device) for key, array in arrays.items()},
        "attention_mask": torch.ones_like(inputs["input_ids"]),
    }


def stop_ids(model: "PreTrainedModel", family: Family) -> set[int]:
    """Ids after which nothing more is written: EOS, and those that the model's own settings name."""
    own = model.generation_config.eos_token_id
    return {family.eos_id, *(own if isinstance(own, list) else [] if own is None else [own])}


def write_ids(
    model: "PreTrainedModel", family: Family, prompt: Prompt, *, dtype: torch.dtype, max_new_tokens: int
) -> list[int]:
    """What the model writes after a prompt, the most likely token each time, EOS included.

    Args:
        model: a bare Hugging Face model, in eval mode.
        family: of the model.
        prompt: of a page.
        dtype: of pixels.
        max_new_tokens: where to stop without EOS.
    """
    inputs = prompt_inputs(prompt.pack, family, device=model.device, dtype=dtype)
    with greedy(model, family, max_new_tokens):
        ids = model.generate(**inputs)
    return [int(number) for number in ids[0, len(prompt.pack.input_ids) :]]


@contextmanager
def greedy(model: "PreTrainedModel", family: Family, max_new_tokens: int) -> Iterator[None]:
    """For the block, settings of generation instead of the model's own, which would fill in whatever is left out."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stop_ids(model, family)),
        pad_token_id=family.pad_id,
    )
    try:
        yield
    finally:
        model.generation_config = own


def text_of_ids(ids: Ints | list[int], family: Family) -> str:
    """Text of ids, tokens of structure left out."""
    return family.encoder.decode([int(number) for number in ids if int(number) not in family.structural_ids])
