"""`wdstream show`: one pack of a run, token by token: what it holds, what is supervised, and why the rest is not.

    view = show_pack(config, path, step=41_337, pack=2)
    print_pack(view, console)                        # report/terminal.py
    write_html(view, Path("pack.html"))              # report/html.py

The pack is planned and built as in training. What its tokens stand for comes from the functions that build a sample
(batches/sample.py), the masks from the labels that were built; both are compared with the pack's ids, so that an
explanation that does not fit is never shown. A page that the run's quarantine (`train.output`) lists up to that step is
shown as it was trained on: blank, and why.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from wdstream.batches.sample import document_pieces, encode_texts, segment_pieces
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError
from wdstream.families.base import Family
from wdstream.pipeline.build_pack import PackBuilder, Slot
from wdstream.pipeline.plan_source import PackTask
from wdstream.pipeline.planned import Plan, pack_builder
from wdstream.plan.summary import held_out_notes
from wdstream.records import IGNORED, EncodedPack, ImageSegment, Ints, PackPlan, Size, StepPlan, TiledPage, TokenSegment
from wdstream.report.view import DocumentView, ImageView, Mask, PackView, Span, SpanKind, TileView
from wdstream.runs.layout import RunLayout, read_listed
from wdstream.shards.samples.row_name import name_of_row
from wdstream.tiling.labels import label_page

MASKS: dict[SpanKind, Mask] = {
    "opening": Mask.OPENING,
    "image": Mask.IMAGE,
    "label": Mask.LABEL,
    "prompt": Mask.PROMPT,
}
"""Why spans of these kinds are always masked."""

Origin = tuple[SpanKind, int | None]
"""What a piece of a document stands for, and the number of its tile, if it belongs to one."""


def show_pack(config: Config, path: Path, *, step: int = 0, pack: int = 0) -> PackView:
    """One pack of a run, built and explained.

    Args:
        config: of the run.
        path: where it was read from, to be shown.
        step: number of the step, from 0.
        pack: of the packs of that step, in the plan's order, from 0.

    Raises:
        PlanError: the run has no such step, or the step no such pack.
        ShardIndexError: a dataset has no index, or it lacks the token column.
        WdstreamError: no plan can be made, or a shard is bad.
    """
    max_steps = config.train.max_steps
    if max_steps is not None and step >= max_steps:
        raise PlanError(
            f"step {step}: the run ends after {max_steps} steps (train.max_steps), numbered from 0; "
            f"to see what would follow, add --set train.max_steps={step + 1}"
        )
    plan = plan_from_config(config)
    planned = plan.step(step)
    if not 0 <= pack < len(planned.packs):
        raise PlanError(
            f"pack {pack}: step {step} has {len(planned.packs)} packs (data.global_batch_size), numbered from 0"
        )
    view = explain_pack(plan, planned, pack, path, run=config.train.output)
    if not config.train.skips(step):
        return view
    note = "the step is skipped (train.skip_steps): none of this is trained on"
    return replace(view, notes=(note, *view.notes))


def explain_pack(plan: Plan, step: StepPlan, pack: int, path: Path, *, run: Path) -> PackView:
    """Build a pack of a planned step, and say what is where in it.

    Args:
        plan: of the run.
        step: one of its steps.
        pack: place of the pack in the step, from 0.
        path: of the configuration, to be shown.
        run: output folder of the run, whether it exists or not.

    Raises:
        ShardError: a shard is missing or damaged as a whole.
    """
    planned = step.packs[pack]
    builder = pack_builder(plan, known_bad=quarantined(plan, planned, RunLayout(run).quarantine, step=step.step))
    task = PackTask(pack=planned)
    slots, built = builder.read(task), builder(task)
    return PackView(
        config=path,
        step=step.step,
        pack=pack,
        num_packs=len(step.packs),
        number=planned.number,
        sequence_length=plan.settings.sequence_length,
        max_patches=plan.settings.max_patches,
        family=plan.family,
        tiling=str(getattr(plan.tiling, "kind", type(plan.tiling).__name__)),
        documents=tuple(
            _document(plan, builder, sample, slot, built, place)
            for place, (sample, slot) in enumerate(zip(planned.samples, slots.slots, strict=True))
        ),
        notes=held_out_notes(plan.datasets),
    )


def quarantined(plan: Plan, pack: PackPlan, quarantine: Path, *, step: int) -> dict[int, str]:
    """Why pages of a pack were not trained on at `step`, as a run's quarantine has it; by number of the page.

    A line counts only if number and key are both the page's: the file may be that of a run over other data.
    """
    pages = {}
    for sample in pack.samples:
        dataset, row = plan.locate(sample)
        pages[plan.mixture.page_of(sample)] = name_of_row(plan.shards[dataset], row)
    return {
        line["sample"]: f"{line['reason']} (in {quarantine} since step {line['step']})"
        for line in read_listed(quarantine)
        if line["step"] <= step and pages.get(line["sample"]) == line["key"]
    }


def _document(
    plan: Plan, builder: PackBuilder[PackTask], sample: int, slot: Slot, pack: EncodedPack, place: int
) -> DocumentView:
    """The document in a slot of a pack, which is in place `place` there."""
    begin = sum(pack.lengths[:place])
    end = begin + pack.lengths[place]
    dataset, row = plan.locate(sample)
    failure = next((failure.reason for failure in pack.failures if failure.sample == slot.sample), None)
    page = builder.tiled(slot) if failure is None else builder.blank_page(slot)
    built = BuiltDocument(
        input_ids=pack.input_ids[begin:end],
        labels=pack.labels[begin:end],
        begin=begin,
        is_failed=failure is not None,
    )
    return DocumentView(
        slot=place,
        sample=sample,
        key=pack.keys[place],
        dataset=str(plan.datasets[dataset].name),
        shard=plan.shards[dataset].shard_name(row),
        row=row,
        scale=slot.scale,
        begin=begin,
        end=end,
        num_patches=slot.patches,
        images=tuple(explain_images(page, slot.scaled_sizes, plan.family)),
        spans=tuple(explain_spans(page, built, plan.family)),
        failure=failure,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltDocument:
    """A document of a pack that was built.

    Attributes:
        input_ids: int64 (L,), of this document.
        labels: int64 (L,).
        begin: number of its first token in the pack.
        is_failed: whether it only keeps the slot of a page that failed.
    """

    input_ids: Ints
    labels: Ints
    begin: int
    is_failed: bool


def explain_images(page: TiledPage, sizes: Sequence[Size], family: Family) -> Iterator[ImageView]:
    """The images of a page in reading order; `sizes` are (width, height) of each before it is cut."""
    first = 0
    for segment in page.segments:
        if not isinstance(segment, ImageSegment):
            continue
        plan, pixels = page.plans[segment.index], page.tiles[segment.index]
        sides = np.array(plan.sizes, dtype=np.int64)
        _, patches = family.image_cost(sides[:, 0], sides[:, 1])
        tiles = [
            TileView(
                number=first + index,
                label=None if plan.labels is None else plan.labels[index],
                is_overview=plan.has_overview and index == 0,
                box=plan.boxes[index],
                size=size,
                model_size=family.resized(*size),
                num_patches=int(patches[index]),
                pixels=pixels[index],
            )
            for index, size in enumerate(plan.sizes)
        ]
        first += len(tiles)
        yield ImageView(size=sizes[segment.index], grid=plan.grid, tiles=tuple(tiles))


def explain_spans(page: TiledPage, built: BuiltDocument, family: Family) -> Iterator[Span]:
    """The spans of a document, end to end.

    Args:
        page: it was built from; of a failed page, the blank one that keeps its slot.
        built: ids and labels as they are trained on.
        family: that built it.
    """
    begin = 0
    for ids, (kind, tile) in _pieces(page, built, family):
        end = begin + len(ids)
        assert np.array_equal(built.input_ids[begin:end], ids), f"{page.key}: tokens {begin}:{end} are not those built"
        for start, stop in _evenly_masked(built.labels, begin, end):
            yield Span(
                begin=built.begin + start,
                end=built.begin + stop,
                kind=kind,
                mask=_mask(kind, start, stop, built),
                text=_text(built.input_ids[start:stop], kind, family),
                tile=tile,
            )
        begin = end
    assert begin == len(built.input_ids), f"{page.key}: {begin} of {len(built.input_ids)} tokens are explained"


def _pieces(page: TiledPage, built: BuiltDocument, family: Family) -> list[tuple[Ints, Origin]]:
    """The ids of each piece of a document in order, and what it stands for."""
    labelled = label_page(page)
    pieces = segment_pieces(labelled, family, encode_texts([labelled], family)[0])
    document = document_pieces(labelled, pieces, family)
    end: list[tuple[Ints, Origin]] = []
    if not labelled.segments or not isinstance(labelled.segments[-1], TokenSegment):
        end = [(document.pop()[0], ("end", None))]
    # Pieces of segments keep their order and identity; the family put others between them to open the document.
    explained: list[tuple[Ints, Origin]] = []
    origins = iter(zip(pieces, _segment_origins(page), strict=True))
    following = next(origins, None)
    for piece in document:
        if following is not None and piece is following[0]:
            explained.append((piece[0], following[1]))
            following = next(origins, None)
        else:
            explained.append((piece[0], ("opening", None)))
    assert following is None, f"{page.key}: the document lacks a piece of its page"
    num_missing = len(built.input_ids) - sum(len(ids) for ids, _ in [*explained, *end])
    if built.is_failed and num_missing:
        explained.append((np.full(num_missing, family.pad_id, dtype=np.int64), ("blank", None)))
    return [*explained, *end]


def _segment_origins(page: TiledPage) -> Iterator[Origin]:
    """What each segment of the labelled page stands for: `label_page` keeps a page's own texts, the others are labels.

    A label belongs to the tile that follows.
    """
    texts_of_page = {id(segment) for segment in page.segments}
    tile = 0
    for segment in label_page(page).segments:
        if isinstance(segment, ImageSegment):
            yield "image", segment.index
            tile = segment.index + 1
        elif id(segment) in texts_of_page:
            yield ("text" if segment.is_supervised else "prompt"), None
        else:
            yield "label", tile


def _evenly_masked(labels: Ints, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """[begin, end) in ranges that are all supervised or all masked."""
    changes = np.flatnonzero(np.diff(labels[begin:end] == IGNORED)) + begin + 1
    edges = [begin, *changes.tolist(), end]
    return ((start, stop) for start, stop in pairwise(edges) if start < stop)


def _mask(kind: SpanKind, start: int, stop: int, built: BuiltDocument) -> Mask | None:
    """Why the labels of [start, stop) say that nothing is supervised there."""
    if built.labels[start] != IGNORED:
        return None
    if built.is_failed:
        return Mask.FAILED
    if kind in MASKS:
        return MASKS[kind]
    if kind == "end" and start:
        return Mask.CONTINUES
    assert (start, stop) == (0, 1), f"tokens {start}:{stop} ({kind}) are masked and not a first token"
    return Mask.FIRST


def _text(ids: Ints, kind: SpanKind, family: Family) -> str:
    """Ids as text; of images and blank text, each id with the number of its repetitions."""
    if kind not in ("image", "blank"):
        return family.encoder.decode(ids.tolist())
    repeated = ((family.encoder.decode([token]), len(list(group))) for token, group in groupby(ids.tolist()))
    return " ".join(token if count == 1 else f"{token} x {count}" for token, count in repeated)
