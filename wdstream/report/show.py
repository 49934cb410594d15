"""`wdstream show`: one pack of a run, token by token: what it holds, what is supervised, and why the rest is not.

    view = show_pack(config, path, step=41_337, pack=2)
    print_pack(view, console)                        # wdstream/report/terminal.py
    write_html(view, Path("pack.html"))              # wdstream/report/html.py

The pack is planned and built as in training; explain.py only says what is where in it. A page that the run's
quarantine (`train.output`) lists up to that step is shown as it was trained on: blank, and why.
"""

from pathlib import Path

from wdstream.config.schema import Config
from wdstream.errors import PlanError
from wdstream.pipeline.build_pack import PackBuilder, slot_of
from wdstream.pipeline.build_sample import Slot
from wdstream.pipeline.planned import Plan, pack_builder, plan_from_config
from wdstream.plan.sample_lengths import FULL_SCALE
from wdstream.records import EncodedPack, PackPlan, StepPlan, TiledPage
from wdstream.report.explain import BuiltDocument, explain_images, explain_runs
from wdstream.report.view import DocumentView, PackView
from wdstream.shards.reader import name_of_row
from wdstream.storage.json_lines import read_lines


def show_pack(config: Config, path: Path, *, step: int = 0, pack: int = 0) -> PackView:
    """One pack of a run, built and explained.

    Args:
        config: of the run.
        path: where it was read from, to be shown.
        step: number of the step, from 0.
        pack: of the packs of that step, in the plan's order, from 0.

    Raises:
        PlanError: the run has no such step, or the step no such pack.
        ShardIndexError: a data set has no index, or it lacks the token column.
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
    return explain_pack(plan, planned, pack, path, run=config.train.output)


def explain_pack(plan: Plan, step: StepPlan, place: int, path: Path, *, run: Path) -> PackView:
    """Build a pack of a planned step, and say what is where in it; `run`: the output folder of the run, if it began.

    Raises:
        ShardError: a shard is missing or damaged as a whole.
    """
    planned = step.packs[place]
    builder = pack_builder(plan, known_bad=quarantined(plan, planned, run / "quarantine.jsonl", step=step.step))
    built = builder.build(planned)
    begins = [sum(built.lengths[:number]) for number in range(len(built.lengths))]
    return PackView(
        config=path,
        step=step.step,
        place=place,
        num_packs=len(step.packs),
        number=planned.number,
        sequence_length=plan.settings.sequence_length,
        max_patches=plan.settings.max_patches,
        family=plan.family,
        tiling=str(getattr(plan.tiling, "kind", type(plan.tiling).__name__)),
        documents=tuple(
            _document(plan, builder, planned=planned, built=built, number=number, begin=begin)
            for number, begin in enumerate(begins)
        ),
    )


def quarantined(plan: Plan, pack: PackPlan, listed: Path, *, step: int) -> dict[int, str]:
    """Why pages of a pack were not trained on at `step`, as a run's quarantine has it; by number of the page.

    A line counts where number and key both are the page's: the list may be that of a run over other data.
    """
    pages = {}
    for sample in pack.samples:
        dataset, row = plan.locate(sample)
        pages[plan.parts.page_of(sample)] = name_of_row(plan.shards[dataset], row)
    return {
        line["sample"]: f"{line['reason']} (in {listed} since step {line['step']})"
        for line in read_lines(listed)
        if line["step"] <= step and pages.get(line["sample"]) == line["key"]
    }


def _document(
    plan: Plan, builder: PackBuilder, *, planned: PackPlan, built: EncodedPack, number: int, begin: int
) -> DocumentView:
    """Document `number` of a pack, which begins at token `begin`."""
    sample, length = planned.samples[number], built.lengths[number]
    dataset, row = plan.locate(sample)
    shards = plan.shards[dataset]
    scale = planned.scales[number] if planned.scales else FULL_SCALE
    slot = slot_of(shards, row, tokens=length, scale=scale, part=plan.parts.part_of(sample))
    page_number = plan.parts.page_of(sample)
    failure = next((failure.reason for failure in built.failures if failure.sample == page_number), None)
    page = _page(builder, slot, sample, is_failed=failure is not None)
    document = BuiltDocument(
        input_ids=built.input_ids[begin : begin + length],
        labels=built.labels[begin : begin + length],
        begin=begin,
        is_failed=failure is not None,
    )
    return DocumentView(
        place=number,
        sample=sample,
        key=built.keys[number],
        dataset=str(plan.datasets[dataset].name),
        shard=shards.shard_name(row),
        row=row,
        scale=scale,
        begin=begin,
        end=begin + length,
        num_patches=planned.patches[number],
        images=tuple(explain_images(page, slot.scaled_sizes, plan.family)),
        runs=tuple(explain_runs(page, document, plan.family)),
        failure=failure,
    )


def _page(builder: PackBuilder, slot: Slot, sample: int, *, is_failed: bool) -> TiledPage:
    """The page of a sample with its tiles, or the blank one that keeps its place."""
    if is_failed:
        return builder.samples.blank_page(slot)
    dataset, row = builder.parts.locate(sample)
    part = builder.parts.part_of(sample)
    return builder.samples.tiled(builder.datasets[dataset].read_page(row), scale=slot.scale, part=part)
