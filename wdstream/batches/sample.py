"""A labelled page to token ids: segment by segment, so that the length in the plan is the length built.

    [BOS] text ids | image block | text ids | ... | EOS

The joined string is never tokenised again and never searched for placeholders. Loss lies on supervised text and on EOS
(also where the tokenizer uses one id for EOS and padding); never on a first token, which nothing predicts.
"""

from collections.abc import Sequence

import numpy as np

from wdstream.errors import FamilyError, RowError
from wdstream.families.base import Family, Piece
from wdstream.records import IGNORED, ImageSegment, Ints, LabelledPage, Sample, Size, TextSegment, TokenSegment


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
    texts, patches = encode_texts(pages, family), count_patches(pages, family)
    return [_sample(page, family, ids, count) for page, ids, count in zip(pages, texts, patches, strict=True)]


def encode_texts(pages: Sequence[LabelledPage], family: Family) -> list[list[Ints]]:
    """The ids of the texts of each page, in order."""
    texts = [[segment.text for segment in page.segments if isinstance(segment, TextSegment)] for page in pages]
    ids = iter(family.encoder.encode_batch([text for of_page in texts for text in of_page]))
    return [[_ids(next(ids)) for _ in of_page] for of_page in texts]


def count_patches(pages: Sequence[LabelledPage], family: Family) -> list[int]:
    """The vision patches of each page, before any merge."""
    sizes = np.array([tile.shape[:2] for page in pages for tile in page.tiles], dtype=np.int64).reshape(-1, 2)
    _, patches = family.image_cost(sizes[:, 1], sizes[:, 0])
    found = iter(patches.tolist())
    return [sum(next(found) for _ in page.tiles) for page in pages]


def _sample(page: LabelledPage, family: Family, texts: Sequence[Ints], num_patches: int) -> Sample:
    """One of `build_samples`."""
    pieces = document_pieces(segment_pieces(page, family, texts), family, ends_itself=ends_itself(page))
    labels = np.concatenate([ids if is_supervised else np.full_like(ids, IGNORED) for ids, is_supervised in pieces])
    labels[0] = IGNORED
    if page.continues:
        labels[-1] = IGNORED
    if family.max_document_tokens is not None and len(labels) > family.max_document_tokens:
        raise FamilyError(
            f"page '{page.key}' has {len(labels)} tokens, more than the {family.max_document_tokens} that family "
            f"{family.name} takes in one document; set data.sequence_length to at most {family.max_document_tokens}"
        )
    return Sample(
        key=page.key,
        input_ids=np.concatenate([ids for ids, _ in pieces]),
        labels=labels,
        tiles=tuple(page.tiles[segment.index] for segment in page.segments if isinstance(segment, ImageSegment)),
        num_patches=num_patches,
    )


def ends_itself(page: LabelledPage) -> bool:
    """Whether the last segment of a page holds EOS already, as a chat row's does."""
    return bool(page.segments) and isinstance(page.segments[-1], TokenSegment)


def segment_pieces(page: LabelledPage, family: Family, texts: Sequence[Ints]) -> list[Piece]:
    """The ids of each segment of a page, in order, and whether they are supervised; `texts` are those of
    `encode_texts`."""
    encoded = iter(texts)
    pieces: list[Piece] = []
    for segment in page.segments:
        if isinstance(segment, ImageSegment):
            height, width = page.tiles[segment.index].shape[:2]
            pieces.append((block_ids(family, (width, height), segment.label), False))
        elif isinstance(segment, TextSegment):
            pieces.append((next(encoded), segment.is_supervised))
        elif isinstance(segment, TokenSegment):
            pieces.append((_ids(segment.ids), segment.is_supervised))
        else:
            raise RowError(
                f"page {page.key!r} is a chat row; write it out with render_chat (families/shared/chat.py) first"
            )
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
