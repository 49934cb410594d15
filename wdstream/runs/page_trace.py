"""trace --page: the steps of a run in which a page was trained on, by any name that it has (curation/resolve.py).

A planned run is planned again up to its last step; of tars without an index, the listed pages are looked through.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wdstream.config.build import plan_from_config
from wdstream.curation.resolve import matching_keys
from wdstream.errors import PlanError
from wdstream.pipeline.planned import Plan
from wdstream.runs.layout import read_listed
from wdstream.runs.record import RunFolder, read_run
from wdstream.runs.where import Occurrence, PageSteps, where_in


def trace_page(output: Path, name: str) -> PageSteps:
    """When a run trained on the pages of a name, and what its lists say of them.

    Raises:
        TrainError: no run in the folder.
        PlanError: no page has the name, no step was trained yet, or the plan is not that of the run any more.
    """
    folder = read_run(output)
    steps = max((line["step"] + 1 for line in folder.steps), default=0)
    if not steps:
        raise PlanError(f"{output}: no step is trained yet; `wdstream where` says when a page will come")
    skipped = {line["step"] for line in folder.steps if line.get("skipped", False)}
    return _found(folder, name, steps).with_skipped(skipped.__contains__)


def _found(folder: RunFolder, name: str, steps: int) -> PageSteps:
    if folder.config.data.streaming is not None:
        return _listed(folder, name, steps)
    plan = plan_from_config(folder.config)
    refuse_changed(plan, folder)
    return with_remarks(where_in(plan, name, steps), folder)


def with_remarks(found: PageSteps, folder: RunFolder) -> PageSteps:
    """The same, and what the lists of a run say of these pages."""
    keys = {one.name for one in found.occurrences} | {found.key}
    return replace(found, remarks=(*found.remarks, *_said_of(folder, keys)))


def refuse_changed(plan: Plan, folder: RunFolder) -> None:
    """Refuse a plan whose steps would not be those that were trained. Raises PlanError."""
    now = plan.mixture.fingerprints
    changed = [name for name in {**now, **folder.fingerprints} if name != "pixels"]
    changed = [name for name in changed if now.get(name) != folder.fingerprints.get(name)]
    if changed:
        raise PlanError(
            f"{folder.files.record}: the plan is not that of the run any more: {', '.join(sorted(changed))} changed "
            "since; bring it back as it was, or see what `wdstream audit` says"
        )


def _listed(folder: RunFolder, name: str, steps: int) -> PageSteps:
    """Of a run on tars without an index."""
    lists = [read_listed(path) for path in (folder.files.quarantine, folder.files.rejects)]
    known = {key for line in folder.files.read_all_pages() for keys in line["packs"].values() for key in keys}
    known.update(line["key"] for lines in lists for line in lines)
    keys = set(matching_keys(name, sorted(known)))
    if not keys:
        raise PlanError(f"{folder.files.pages}: no page called '{name}' in the {steps:,} steps that were trained")
    occurrences = tuple(_occurrences(folder, keys))
    return PageSteps(key=name, steps=steps, occurrences=occurrences, reason=None, remarks=tuple(_said_of(folder, keys)))


def _occurrences(folder: RunFolder, keys: set[str]) -> Iterator[Occurrence]:
    for line in folder.files.read_all_pages():
        for pack, in_pack in line["packs"].items():
            for slot, key in enumerate(in_pack):
                if key in keys:
                    yield Occurrence(name=key, step=line["step"], pack=int(pack), slot=slot)


def _said_of(folder: RunFolder, keys: set[str]) -> Sequence[str]:
    """What the lists of the run say of these pages."""
    names = {folder.files.quarantine: "failed, and was blank from then on", folder.files.rejects: "fits no pack"}
    return [
        f"{line['key']}: step {line['step']}: {what}: {line['reason']} ({path.name})"
        for path, what in names.items()
        for line in read_listed(path)
        if line["key"] in keys
    ]
