"""Which tokens of a document stand for what, and why nothing is supervised on some of them.

The pieces come from the functions that build a sample for training (batches/sample.py), the masks from the labels of
the pack that was built. Both are held against the pack's ids: an explanation that does not fit is never shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from wdstream.batches.sample import document_pieces, encode_texts, ends_itself, segment_pieces
from wdstream.families.base import Family
from wdstream.records import IGNORED, ImageSegment, Ints, Size, TiledPage
from wdstream.report.view import ImageView, Kind, Mask, Run, TileView
from wdstream.tiling.labels import label_page

MASKS: dict[Kind, Mask] = {
    "opening": Mask.OPENING,
    "image": Mask.IMAGE,
    "label": Mask.LABEL,
    "given": Mask.GIVEN,
}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a piece of a document stands for: its kind, and the number of its tile."""

    kind: Kind
    tile: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltDocument:
    """A document of a pack that was built.

    Attributes:
        input_ids: int64 (L,), of this document.
        labels: int64 (L,).
        begin: where it begins in the pack.
        is_failed: whether it only keeps the slot of a page.
    """

    input_ids: Ints
    labels: Ints
    begin: int
    is_failed: bool


def explain_runs(page: TiledPage, built: BuiltDocument, family: Family) -> Iterator[Run]:
    """The runs of a document.

    Args:
        page: it was built from; of a failed page, the blank one in its place.
        built: ids and labels as they are trained on.
        family: that built it.
    """
    begin = 0
    for ids, source in _sources(page, built, family):
        end = begin + len(ids)
        assert np.array_equal(built.input_ids[begin:end], ids), f"{page.key}: tokens {begin}:{end} are not those built"
        for start, stop in _even(built.labels, begin, end):
            yield Run(
                begin=built.begin + start,
                end=built.begin + stop,
                kind=source.kind,
                mask=_mask(source.kind, start, stop, built),
                text=_written(built.input_ids[start:stop], source.kind, family),
                tile=source.tile,
            )
        begin = end
    assert begin == len(built.input_ids), f"{page.key}: {begin} of {len(built.input_ids)} tokens are explained"


def explain_images(page: TiledPage, sizes: Sequence[Size], family: Family) -> Iterator[ImageView]:
    """The images of a page in reading order; `sizes` are (width, height) of each before it is cut."""
    number = 0
    for segment in page.segments:
        if not isinstance(segment, ImageSegment):
            continue
        plan, pixels = page.plans[segment.index], page.tiles[segment.index]
        sides = np.array(plan.sizes, dtype=np.int64)
        _, patches = family.image_cost(sides[:, 0], sides[:, 1])
        tiles = [
            TileView(
                number=number + place,
                label=None if plan.labels is None else plan.labels[place],
                is_overview=plan.has_overview and place == 0,
                box=plan.boxes[place],
                size=size,
                model_size=family.resized(*size),
                num_patches=int(patches[place]),
                pixels=pixels[place],
            )
            for place, size in enumerate(plan.sizes)
        ]
        number += len(tiles)
        yield ImageView(size=sizes[segment.index], grid=plan.grid, tiles=tuple(tiles))


def _sources(page: TiledPage, built: BuiltDocument, family: Family) -> list[tuple[Ints, Source]]:
    """The ids of each piece of a document, and what it stands for."""
    labelled = label_page(page)
    pieces = segment_pieces(labelled, family, encode_texts([labelled], family)[0])
    found: list[tuple[Ints, Source]] = []
    known = iter(zip(pieces, _segment_sources(page), strict=True))
    following = next(known, None)
    whole = document_pieces(pieces, family, ends_itself=ends_itself(labelled))
    end = [] if ends_itself(labelled) else [(whole.pop()[0], Source("end"))]
    for piece in whole:  # those of segments keep their order; others were put in between to open the document
        if following is not None and piece is following[0]:
            found.append((piece[0], following[1]))
            following = next(known, None)
        else:
            found.append((piece[0], Source("opening")))
    assert following is None, f"{page.key}: the document lacks a piece of its page"
    missing = len(built.input_ids) - sum(len(ids) for ids, _ in [*found, *end])
    if built.is_failed and missing:
        found.append((np.full(missing, family.pad_id, dtype=np.int64), Source("blank")))
    return [*found, *end]


def _segment_sources(page: TiledPage) -> Iterator[Source]:
    """What each segment of the labelled page stands for: `label_page` keeps a page's own texts, the others are labels.

    A label belongs to the tile that follows.
    """
    own = {id(segment) for segment in page.segments}
    tile = 0
    for segment in label_page(page).segments:
        if isinstance(segment, ImageSegment):
            yield Source("image", segment.index)
            tile = segment.index + 1
        elif id(segment) in own:
            yield Source("text" if segment.is_supervised else "given")
        else:
            yield Source("label", tile)


def _even(labels: Ints, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """[begin, end) in parts that are all supervised or all masked."""
    changes = np.flatnonzero(np.diff(labels[begin:end] == IGNORED)) + begin + 1
    edges = [begin, *changes.tolist(), end]
    return ((start, stop) for start, stop in pairwise(edges) if start < stop)


def _mask(kind: Kind, start: int, stop: int, built: BuiltDocument) -> Mask | None:
    """Why the labels of [start, stop) say that nothing is supervised there."""
    if built.labels[start] != IGNORED:
        return None
    if built.is_failed:
        return Mask.FAILED
    if kind in MASKS:
        return MASKS[kind]
    if kind == "end" and start:
        return Mask.GOES_ON
    assert (start, stop) == (0, 1), f"tokens {start}:{stop} ({kind}) are masked and are no first token"
    return Mask.FIRST


def _written(ids: Ints, kind: Kind, family: Family) -> str:
    """Ids as text; those of images and blank text as runs of one id."""
    if kind not in ("image", "blank"):
        return family.encoder.decode(ids.tolist())
    runs = ((family.encoder.decode([token]), len(list(group))) for token, group in groupby(ids.tolist()))
    return " ".join(token if count == 1 else f"{token} x {count}" for token, count in runs)
