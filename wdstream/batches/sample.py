"""A labelled page to token ids: segment by segment, so that the length in the plan is the length built.

    [BOS] text ids | image block | text ids | ... | EOS

The joined string is never tokenised again and never searched for placeholders. Supervised are text and EOS
(also where the tokenizer uses one id for EOS and padding); never a first token, which nothing predicts.
"""

from collections.abc import Sequence

import numpy as np

from wdstream.errors import FamilyError, RowError
from wdstream.families.base import Family, Piece
from wdstream.records import IGNORED, ImageSegment, Ints, LabelledPage, Sample, TextSegment, TokenSegment
from wdstream.text.characters import one_line


def build_sample(page: LabelledPage, family: Family) -> Sample:
    """`build_samples` of one page."""
    return build_samples([page], family)[0]


def build_samples(pages: Sequence[LabelledPage], family: Family) -> list[Sample]:
    """Token ids, labels and vision patches of pages whose tiles and labels are in place.

    The pages of a pack come here together: their texts go to the tokenizer in one call, their sizes to the family in
    one. A call for each page would come right after its decoding, which leaves nothing of the tokenizer in the cache.

    Raises:
        FamilyError: the family refuses the size of a tile, or the length of a document; the plan rejects such pages
            before they come here.
    """
    sizes = np.array([tile.shape[:2] for page in pages for tile in page.tiles], dtype=np.int64).reshape(-1, 2)
    patches = iter(family.image_cost(sizes[:, 1], sizes[:, 0])[1].tolist())  # before any merge
    samples = []
    for page, texts in zip(pages, encode_texts(pages, family), strict=True):
        pieces = document_pieces(page, segment_pieces(page, family, texts), family)
        labels = np.concatenate([ids if is_supervised else np.full_like(ids, IGNORED) for ids, is_supervised in pieces])
        labels[0] = IGNORED
        if page.continues:
            labels[-1] = IGNORED
        if family.max_document_tokens is not None and len(labels) > family.max_document_tokens:
            raise FamilyError(
                f"page '{one_line(page.key)}' has {len(labels)} tokens, more than the {family.max_document_tokens} "
                f"that family {family.name} takes in one document; "
                f"set data.sequence_length to at most {family.max_document_tokens}"
            )
        sample = Sample(
            key=page.key,
            input_ids=np.concatenate([ids for ids, _ in pieces]),
            labels=labels,
            tiles=tuple(page.tiles[segment.index] for segment in page.segments if isinstance(segment, ImageSegment)),
            num_patches=sum(next(patches) for _ in page.tiles),
        )
        samples.append(sample)
    return samples


def encode_texts(pages: Sequence[LabelledPage], family: Family) -> list[list[Ints]]:
    """The ids of the texts of each page, in order."""
    texts = [[segment.text for segment in page.segments if isinstance(segment, TextSegment)] for page in pages]
    ids = iter(family.encoder.encode_batch([text for of_page in texts for text in of_page]))
    return [[np.array(next(ids), dtype=np.int64) for _ in of_page] for of_page in texts]


def segment_pieces(page: LabelledPage, family: Family, texts: Sequence[Ints]) -> list[Piece]:
    """The ids of each segment of a page, in order, and whether they are supervised.

    Args:
        page: tiles and segments.
        family: ids of image blocks.
        texts: the page's, from `encode_texts`.

    Raises:
        RowError: the page is a chat row whose turns are not written out yet.
    """
    encoded = iter(texts)
    pieces: list[Piece] = []
    for segment in page.segments:
        if isinstance(segment, ImageSegment):
            height, width = page.tiles[segment.index].shape[:2]
            if segment.label is None:
                pieces.append((family.image_ids(width, height), False))
            else:
                pieces.append((family.labelled_ids((width, height), segment.label), False))
        elif isinstance(segment, TextSegment):
            pieces.append((next(encoded), segment.is_supervised))
        elif isinstance(segment, TokenSegment):
            pieces.append((np.array(segment.ids, dtype=np.int64), segment.is_supervised))
        else:
            raise RowError(
                f"page {page.key!r} is a chat row; write it out with render_chat (families/shared/chat.py) first"
            )
    return pieces


def document_pieces(page: LabelledPage, pieces: Sequence[Piece], family: Family) -> list[Piece]:
    """The pieces of a whole document: those of its segments, the ids that open it, and EOS after the last piece.

    A chat row, whose last segment is a TokenSegment, holds its EOS already.
    """
    opened = family.opened(pieces)
    if not page.segments or not isinstance(page.segments[-1], TokenSegment):
        opened.append((np.array([family.eos_id], dtype=np.int64), True))
    return opened
