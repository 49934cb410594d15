"""Label: tiles become part of the page's text, each after its label.

An image of k > 1 tiles reads `label0 tile0 \\n label1 tile1 ...`; newline and label are one piece of text, tokenised
together, so a piece has the same tokens wherever it is. An image of one tile has no label and no newline. Nothing comes
between the last tile and what follows. Labels are not supervised.
"""

from collections.abc import Sequence

from wdstream.records import ImageSegment, LabelledPage, Pixels, Segment, TextSegment, TiledPage


def grid_labels(columns: int, rows: int, *, has_overview: bool, is_rtl: bool) -> tuple[str, ...]:
    """Labels in emission order; columns are numbered from the left whatever the reading order."""
    across = range(columns - 1, -1, -1) if is_rtl else range(columns)
    names = [f"<row{row}_col{column}>" for row in range(rows) for column in across]
    return ("<global_img>", *names) if has_overview else tuple(names)


def tile_text_pieces(num_tiles: int, names: Sequence[str] | None) -> list[str]:
    """The text before each tile of one image, "" for none; `names` are the labels that are text, None if none are."""
    if num_tiles == 1:
        return [""]
    before = ["", *["\n"] * (num_tiles - 1)]
    return before if names is None else [space + name for space, name in zip(before, names, strict=True)]


def grid_text_pieces(columns: int, rows: int, has_overview: bool, is_labelled: bool, is_rtl: bool) -> list[str]:
    """`tile_text_pieces` from what a plan's arrays hold: all pages of one grid have the same pieces."""
    names = grid_labels(columns, rows, has_overview=has_overview, is_rtl=is_rtl)
    return tile_text_pieces(len(names), names if is_labelled else None)


def label_page(tiled: TiledPage) -> LabelledPage:
    """Put every tile of a page in its place among the segments, with its label before it."""
    segments: list[Segment] = []
    tiles: list[Pixels] = []
    for segment in tiled.segments:
        if not isinstance(segment, ImageSegment):
            segments.append(segment)
            continue
        plan = tiled.plans[segment.index]
        own_labels = plan.labels if plan.has_own_labels and plan.labels else [None] * len(plan.boxes)
        pieces = tile_text_pieces(len(plan.boxes), None if plan.has_own_labels else plan.labels)
        for piece, label, tile in zip(pieces, own_labels, tiled.tiles[segment.index], strict=True):
            if piece:
                segments.append(TextSegment(text=piece, is_supervised=False))
            segments.append(ImageSegment(index=len(tiles), label=label))
            tiles.append(tile)
    return LabelledPage(
        key=tiled.key, tiles=tuple(tiles), segments=tuple(segments), meta=tiled.meta, continues=tiled.continues
    )
