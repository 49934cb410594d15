"""Fixed grids and canvases: axolotl's rules, to the pixel.

Every rounding is half to even on float64 (Python's `round`, numpy's `rint`), in the reference's order of operations.
A page too small for its grid: where the reference cuts an empty crop, the grid is reduced to at most as many columns
and rows as the page has pixels, so that no tile is ever empty (a 1x1 page under a 2x3 grid is one tile).
"""

from collections.abc import Sequence

from wdstream.records import Box, Placement, Size

Span = tuple[int, int]


def cut(page: Size, grid: Size, overlap: float) -> tuple[list[Span], list[Span]]:
    """The (start, end) of each column and of each row; a smaller grid where a tile would be empty."""
    columns, rows = (_spans(length, cells, overlap) for length, cells in zip(page, grid, strict=True))
    if all(start < end for start, end in (*columns, *rows)):
        return columns, rows
    # A cell of at least one pixel rounds to at least one pixel, so this time none is empty.
    return _spans(page[0], min(page[0], grid[0]), overlap), _spans(page[1], min(page[1], grid[1]), overlap)


def _spans(length: int, cells: int, overlap: float) -> list[Span]:
    cell = length / cells
    extra = cell * overlap
    return [
        (max(0, round(place * cell - extra)), min(length, round((place + 1) * cell + extra))) for place in range(cells)
    ]


def boxes(columns: Sequence[Span], rows: Sequence[Span], reading_order: str) -> list[Box]:
    """Boxes in emission order: rows from the top, columns from the right for "rtl", else from the left."""
    across = list(reversed(columns)) if reading_order == "rtl" else columns
    return [(left, top, right, bottom) for top, bottom in rows for left, right in across]


def labels(columns: int, rows: int, *, has_overview: bool, reading_order: str) -> tuple[str, ...]:
    """Labels in emission order; columns are numbered from the left whatever the reading order."""
    across = range(columns - 1, -1, -1) if reading_order == "rtl" else range(columns)
    names = [f"<row{row}_col{column}>" for row in range(rows) for column in across]
    return ("<global_img>", *names) if has_overview else tuple(names)


def fit(content: Size, canvas: Size, *, no_upscale: bool) -> Placement:
    """Scale `content` to fit `canvas`, keeping its aspect, and centre it."""
    (width, height), (canvas_width, canvas_height) = content, canvas
    scale = min(canvas_width / width, canvas_height / height)
    if no_upscale:
        scale = min(scale, 1.0)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    return Placement(width=width, height=height, left=(canvas_width - width) // 2, top=(canvas_height - height) // 2)


def on_canvas(content: Size, size: int | Size, *, no_upscale: bool) -> tuple[Size, Placement]:
    """Canvas and placement of a crop: int is a square that the crop is fitted on, a pair is stretched to."""
    if isinstance(size, int):
        return (size, size), fit(content, (size, size), no_upscale=no_upscale)
    return size, filled(size)


def filled(size: Size) -> Placement:
    """The placement of content that covers its canvas."""
    return Placement(width=size[0], height=size[1], left=0, top=0)


def choose_bucket(content: Size, buckets: Sequence[Size]) -> Size:
    """The canvas for an image: the smallest that holds it, else the one that shrinks it least.

    Candidates are ordered by (area, width, height). Among those that hold the image the smallest area wins, then the
    closest width / height; else the largest min(width ratio, height ratio), then the smallest area; then the order.
    """
    width, height = content
    candidates = sorted(set(buckets), key=lambda bucket: (bucket[0] * bucket[1], *bucket))
    holding = [bucket for bucket in candidates if width <= bucket[0] and height <= bucket[1]]
    if holding:
        return min(holding, key=lambda bucket: (bucket[0] * bucket[1], abs(bucket[0] / bucket[1] - width / height)))
    return max(candidates, key=lambda bucket: (min(bucket[0] / width, bucket[1] / height), -bucket[0] * bucket[1]))
