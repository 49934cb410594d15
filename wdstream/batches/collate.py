"""Packs to a batch of tensors, one pack a row.

B rows of L tokens, R position rows (1 or 4), D documents over all rows with the padding ones:

    input_ids, labels            int64 (B, L)
    position_ids                 int64 (B, L), or (4, B, L) with M-RoPE; restarts with every document
    cu_seq_lens_q, cu_seq_lens_k int32 (D + 1,): limits of the documents in the rows laid end to end; 0 ... B * L
    max_length_q, max_length_k   int: tokens of the longest document
    pixel arrays                 the family's, uint8 (see its file)
    keys, packs, lengths, failures   metadata of the rows, dropped by `family.model_inputs`

There is no 2-D attention mask: a mask, even one of ones, silently turns off the isolation of packed documents. What a
row lacks in length is one more document, with labels of -100.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wdstream.errors import PlanError
from wdstream.families.base import Family
from wdstream.records import IGNORED, EncodedPack, Ints


def collate(packs: Sequence[EncodedPack], family: Family, *, pad_to: int | None = None) -> dict[str, Any]:
    """Join packs into a batch.

    Args:
        packs: one a row; at least one.
        family: joins the pixel arrays.
        pad_to: tokens a row; None takes the longest pack's.

    Raises:
        PlanError: no pack, or a pack longer than `pad_to`.
    """
    if not packs:
        raise PlanError("collate: a batch needs at least one pack, found none; check micro_batch_size")
    longest = max(len(pack.input_ids) for pack in packs)
    length = longest if pad_to is None else pad_to
    if longest > length:
        raise PlanError(f"collate: a pack has {longest} tokens, more than the {length} of a row (pad_to)")
    rows = [_row_lengths(pack, length) for pack in packs]
    limits = np.cumsum([0, *(tokens for row in rows for tokens in row)], dtype=np.int32)
    max_length = max((tokens for row in rows for tokens in row), default=0)
    input_ids = _padded([pack.input_ids for pack in packs], length, family.pad_id)
    labels = _padded([pack.labels for pack in packs], length, IGNORED)
    cu_seq_lens = torch.from_numpy(limits)
    arrays = {
        "input_ids": input_ids,
        "labels": labels,
        "position_ids": _positions(packs, length),
        **family.collate_pixels([pack.pixels for pack in packs]),
        **family.attention_arrays(input_ids, labels, rows),
    }
    return {
        **{key: torch.from_numpy(array) for key, array in arrays.items()},
        "cu_seq_lens_q": cu_seq_lens,
        "cu_seq_lens_k": cu_seq_lens,
        "max_length_q": max_length,
        "max_length_k": max_length,
        "keys": [list(pack.keys) for pack in packs],
        "packs": [pack.number for pack in packs],
        "lengths": [list(pack.lengths) for pack in packs],
        "failures": [failure for pack in packs for failure in pack.failures],
    }


def _row_lengths(pack: EncodedPack, length: int) -> list[int]:
    """Tokens of the documents of a row, the padding one included."""
    rest = length - len(pack.input_ids)
    return [*pack.lengths, rest] if rest else list(pack.lengths)


def _padded(rows: Sequence[Ints], length: int, fill: int) -> Ints:
    """(B, L): each row with `fill` behind it."""
    out = np.empty((len(rows), length), dtype=np.int64)
    for place, values in enumerate(rows):
        out[place, : len(values)] = values
        out[place, len(values) :] = fill
    return out


def _positions(packs: Sequence[EncodedPack], length: int) -> Ints:
    """(R, B, L) for R > 1, else (B, L); the padding counts from 0 in every row, like a document of text."""
    num_rows = len(packs[0].position_ids)
    out = np.empty((num_rows, len(packs), length), dtype=np.int64)
    for row, pack in enumerate(packs):
        num_tokens = len(pack.input_ids)
        out[:, row, :num_tokens] = pack.position_ids
        out[:, row, num_tokens:] = np.arange(length - num_tokens)
    return out if num_rows > 1 else out[0]
