"""A labelled page to token ids: segment by segment, so that the length in the plan is the length built.

    [BOS] text ids | image block | text ids | ... | EOS

The joined string is never tokenised again and never searched for placeholders. Loss lies on supervised text and on EOS
(also where the tokenizer uses one id for EOS and padding); never on a first token, which nothing predicts.
"""

from collections.abc import Sequence

import numpy as np

from wdstream.errors import FamilyError, RowError
from wdstream.families.base import Family, Ints, Piece
from wdstream.records import ImageSegment, LabelledPage, Sample, Size, TextSegment, TokenSegment

IGNORED = -100
"""Label of a token on which nothing is learnt; PyTorch's cross entropy skips it."""


def build_sample(page: LabelledPage, family: Family, *, goes_on: bool = False) -> Sample:
    """Token ids, labels and vision patches of a page whose tiles and labels are in place.

    `goes_on`: the page's text goes on in another sample, so that the EOS of this one is not learnt.

    Raises:
        FamilyError: the family refuses the size of a tile, or the length of the document; the plan rejects such pages
            before they come here.
    """
    pieces = document_pieces(segment_pieces(page, family), family, ends_itself=ends_itself(page))
    labels = np.concatenate([ids if is_learnt else np.full_like(ids, IGNORED) for ids, is_learnt in pieces])
    labels[0] = IGNORED
    if goes_on:
        labels[-1] = IGNORED
    if family.max_document_tokens is not None and len(labels) > family.max_document_tokens:
        raise FamilyError(
            f"page '{page.key}' has {len(labels)} tokens, more than the {family.max_document_tokens} that family "
            f"{family.name} takes in one document; set data.sequence_length to at most {family.max_document_tokens}"
        )
    tiles = tuple(page.tiles[segment.index] for segment in page.segments if isinstance(segment, ImageSegment))
    sizes = np.array([tile.shape[:2] for tile in tiles], dtype=np.int64).reshape(-1, 2)
    _, patches = family.image_cost(sizes[:, 1], sizes[:, 0])
    return Sample(
        key=page.key,
        input_ids=np.concatenate([ids for ids, _ in pieces]),
        labels=labels,
        tiles=tiles,
        num_patches=int(patches.sum()),
    )


def ends_itself(page: LabelledPage) -> bool:
    """Whether the last segment of a page holds EOS already, as a chat row's does."""
    return bool(page.segments) and isinstance(page.segments[-1], TokenSegment)


def segment_pieces(page: LabelledPage, family: Family) -> list[Piece]:
    """The ids of each segment of a page, in order, and whether they are learnt."""
    texts = iter(family.encoder.encode_batch([part.text for part in page.segments if isinstance(part, TextSegment)]))
    pieces: list[Piece] = []
    for segment in page.segments:
        if isinstance(segment, ImageSegment):
            height, width = page.tiles[segment.index].shape[:2]
            pieces.append((block_ids(family, (width, height), segment.label), False))
        elif isinstance(segment, TextSegment):
            pieces.append((_ids(next(texts)), segment.is_supervised))
        elif isinstance(segment, TokenSegment):
            pieces.append((_ids(segment.ids), segment.is_supervised))
        else:
            raise RowError(f"page {page.key!r} is a chat row; write it out with render_chat (families/chat.py) first")
    return pieces


def block_ids(family: Family, size: Size, label: str | None) -> Ints:
    """The ids of an image of `size`; with a label, those that say which tile of its page it is."""
    return family.image_ids(*size) if label is None else family.labelled_ids(size, label)


def document_pieces(pieces: Sequence[Piece], family: Family, *, ends_itself: bool = False) -> list[Piece]:
    """The pieces of a whole document: those of its segments, the ids that open it put in, and EOS.

    `ends_itself`: the last piece holds EOS already, as a chat row's does.
    """
    opened = family.opened(pieces)
    return [*opened] if ends_itself else [*opened, (_ids([family.eos_id]), True)]


def _ids(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
