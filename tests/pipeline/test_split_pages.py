"""`overlength: split` on real shards: what parts hold, digests, failures, and what trace, where, show and audit say.

Spans: make_shards, plan, pipeline, runs, report.
"""

import io
import itertools
import json
import random
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from tests.helpers.ledger import write_ledger
from wdstream.commands.app import app
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError, ShardError, ShardIndexError
from wdstream.pipeline.planned import Plan, write_rejects
from wdstream.plan.deal import pages_digest
from wdstream.report.explain import show_pack
from wdstream.report.html import render_html
from wdstream.report.terminal import print_pack
from wdstream.report.view import Mask, PackView
from wdstream.runs.audit import audit
from wdstream.runs.digest import digest
from wdstream.runs.record import read_run
from wdstream.runs.trace import trace
from wdstream.runs.where import Occurrence, where
from wdstream.shards.catalog import token_file
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs
from wdstream.text.paragraphs import page_paragraphs

MakeConfig = Callable[..., Config]
LENGTH = 160
CONFIG = Path("cfg.yaml")


@pytest.fixture(scope="session")
def long_shards(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Pages of a small picture and up to 9 paragraphs, by blank lines or by lines; rows that are never split."""
    from wdstream.make_shards import MakeShardsOptions, make_shards

    folder = tmp_path_factory.mktemp("long")
    raw = folder / "raw"
    raw.mkdir()
    draw = random.Random(11)
    for number in range(16):
        Image.effect_noise((draw.randint(20, 60), draw.randint(20, 60)), 80).convert("RGB").save(
            raw / f"p{number:02}.png"
        )
        paragraphs = [" ".join(draw.choices(["alpha", "beta", "gamma", "delta"], k=20)) for _ in range(number % 9 + 1)]
        (raw / f"p{number:02}.txt").write_text(("\n\n" if number % 2 else "\n").join(paragraphs))
    (raw / "p16.txt").write_text("one paragraph that is too long " * 40 + "\n\nand a short one")
    Image.new("RGB", (30, 30), "navy").save(raw / "p16.png")
    text = {"type": "text", "text": "said at length " * 60 + "\n\nand more " * 60}
    rows: list[dict[str, Any]] = [
        {"content": [text, {"type": "image"}, text], "images": ["p16.png"]},
        {"content": [{"type": "text", "text": "\n\n".join(["only text, no image " * 6] * 8)}], "images": []},
    ]
    (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = MakeShardsOptions(tokenizer=tiny_model, paragraphs=True, pages_per_shard=7, workers=1)
    make_shards(raw, folder / "shards", options=options)
    return folder / "shards"


@pytest.fixture(scope="session")
def split_config(stream_config: MakeConfig, long_shards: Path) -> MakeConfig:
    def make(*shards: Path, **data: Any) -> Config:
        settings = {"sequence_length": LENGTH, "overlength": "split", "tail": "pad", "epochs": 2}
        return stream_config(*(shards or (long_shards,)), tiling={"kind": "none"}, **(settings | data))

    return make


@pytest.fixture(scope="session")
def plan(split_config: MakeConfig) -> Plan:
    return plan_from_config(split_config(epochs=1))


def documents(plan: Plan, **settings: Any) -> Iterator[tuple[str, Any, Any]]:
    """(key, ids, labels) of every document of a plan."""
    with plan.loader(workers=1, **settings) as loader:
        for batch in loader:
            ends = np.cumsum([0, *batch["lengths"][0]])
            for key, begin, end in zip(batch["keys"][0], ends, ends[1:], strict=False):
                yield key, batch["input_ids"][0, begin:end].numpy(), batch["labels"][0, begin:end].numpy()


def test_parts_hold_the_paragraphs_of_their_page_and_learn_each_once(plan: Plan, long_shards: Path) -> None:
    family, shards = plan.family, Shards.open(long_shards)
    built = {key: (ids, labels) for key, ids, labels in documents(plan)}
    split = 0
    for row in range(len(shards)):
        page = shards.read_page(row)
        if page.key in built:
            continue
        parts = [key for key in built if key.startswith(f"{page.key} part ")]
        parts = [f"{page.key} part {number}/{len(parts)}" for number in range(1, len(parts) + 1)]
        if not parts:
            assert page.key in ("p16", "rows@000001")
            continue
        split += 1
        [block] = [family.image_ids(*_size(shards, row))] if page.images else [np.empty(0, dtype=np.int64)]
        texts, supervised = [], []
        for number, key in enumerate(parts, start=1):
            ids, labels = built[key]
            assert len(ids) <= LENGTH
            np.testing.assert_array_equal(ids[: len(block)], block)
            assert (labels[: len(block)] == -100).all()
            assert ids[-1] == family.eos_id
            assert labels[-1] == (family.eos_id if number == len(parts) else -100)
            texts.append(ids[len(block) : -1])
            first = 0 if len(block) else 1
            assert (labels[:first] == -100).all()
            supervised.append(labels[len(block) + first : -1])
        expected = [family.encoder.encode(text) for text in page_paragraphs(page.segments)]
        assert np.concatenate(texts).tolist() == [token for ids in expected for token in ids]
        assert all((part == text[len(text) - len(part) :]).all() for part, text in zip(supervised, texts, strict=True))
    assert split >= 8
    assert dict(plan.rejects()) == {
        row: "too many tokens" for row in range(len(shards)) if shards.key(row) in ("p16", "rows@000001")
    }


def test_split_pages_are_listed_as_they_were_packed(plan: Plan, tmp_path: Path) -> None:
    write_rejects(plan, tmp_path / "rejects.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    count = plan.mixture.num_samples
    samples = [sample for step in plan.steps() for pack in step.packs for sample in pack.samples]
    parts = Counter(sample % count for sample in samples if sample >= count)
    assert len(parts) >= 8
    assert {line["sample"]: line["reason"] for line in lines if line["is_packed"]} == {
        sample: f"split into {number} parts" for sample, number in parts.items()
    }
    assert [line["reason"] for line in lines if not line["is_packed"]] == ["too many tokens"] * 2


def _size(shards: Shards, row: int) -> tuple[int, int]:
    image = int(shards.image_start[row])
    return int(shards.image_width[image]), int(shards.image_height[image])


def supervised_and_planned(plan: Plan) -> tuple[dict[int, int], dict[int, int]]:
    """Supervised tokens by step: those of the batches, and those of the plan."""
    supervised: Counter[int] = Counter()
    planned = {}
    with plan.loader(workers=2) as loader:
        for batch in loader:
            supervised[batch["step"]] += int((batch["labels"] != -100).sum())
            planned[batch["step"]] = batch["num_supervised"]
    return supervised, planned


def test_supervised_tokens_are_as_planned_with_labelled_tiles_too(
    plan: Plan, stream_config: MakeConfig, long_shards: Path
) -> None:
    tiled = plan_from_config(stream_config(long_shards, sequence_length=500, overlength="split"))
    for one in (plan, tiled):
        assert one.summary().parts >= 4
        supervised, planned = supervised_and_planned(one)
        assert supervised == planned


def test_a_family_that_opens_documents_between_image_and_text(
    tmp_path_factory: pytest.TempPathFactory, long_shards: Path, stream_config: MakeConfig
) -> None:
    from wdstream.make_shards import add_token_column
    from wdstream.testing import make_tiny_model

    model = make_tiny_model(tmp_path_factory.mktemp("paligemma") / "tiny", family="paligemma", vocab_size=1024)
    add_token_column(long_shards, model, paragraphs=True, workers=1)
    config = stream_config(long_shards, sequence_length=240, overlength="split", tiling={"kind": "none"})
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": model})})
    plan = plan_from_config(config)
    assert plan.summary().parts > 10
    supervised, planned = supervised_and_planned(plan)
    assert supervised == planned


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (2, 2), (4, 1)])
def test_digests_are_the_same_on_any_world_and_after_a_resume(
    split_config: MakeConfig, tmp_path: Path, world: int, workers: int
) -> None:
    expected = list(digest(split_config(), steps=range(100), workers=0))
    assert len(expected) >= 5
    for resume_at in (None, 1, len(expected) // 2, len(expected) - 1):
        found = digest(split_config(), steps=range(100), world=world, workers=workers, resume_at=resume_at)
        assert list(found) == expected
    cached = split_config(tile_cache={"path": str(tmp_path / "tiles"), "max_bytes": 10_000_000})
    assert list(digest(cached, steps=range(100), world=world, workers=workers)) == expected


def test_evaluation_sets_are_split_too(split_config: MakeConfig, long_shards: Path, plan: Plan) -> None:
    config = split_config(epochs=1, eval=[{"path": str(long_shards), "name": "held_out"}])
    held_out = plan_from_config(config, split="held_out")
    assert sorted(key for key, _, _ in documents(held_out)) == sorted(key for key, _, _ in documents(plan))


def test_a_model_writes_only_pages_that_are_whole(plan: Plan) -> None:
    from wdstream.train.evaluate.generated_pages import first_pages

    assert sorted(plan.key(pack.samples[0]) for pack in first_pages(plan, 100)) == ["p00", "p01", "p09", "p10"]


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory, long_shards: Path) -> Path:
    """The same with a damaged sample p05, which is split."""
    folder = Path(shutil.copytree(long_shards, tmp_path_factory.mktemp("damaged") / "shards"))
    shards = Shards.open(folder)
    row = shards.find("p05")
    assert row is not None
    with (folder / shards.shard_name(row)).open("r+b") as file:
        file.seek(int(shards.offset[row]) + 700)
        file.write(b"\xff" * 40)
    return folder


def test_a_page_that_fails_keeps_the_slots_of_all_its_parts(
    split_config: MakeConfig, damaged: Path, plan: Plan
) -> None:
    broken = plan_from_config(split_config(damaged, epochs=1))
    good = {key: (ids, labels) for key, ids, labels in documents(plan)}
    found = {key: (ids, labels) for key, ids, labels in documents(broken)}
    assert list(found) == list(good)
    for key, (ids, labels) in found.items():
        assert len(ids) == len(good[key][0])
        if key.startswith("p05 part "):
            assert (labels == -100).all()
        else:
            assert (ids == good[key][0]).all()
            assert (labels == good[key][1]).all()
    with broken.loader() as loader:
        failures = [failure for batch in loader for failure in batch["failures"]]
    row = broken.shards[0].find("p05")
    assert {(failure.key, failure.sample) for failure in failures} == {("p05", row)}
    assert len(failures) == sum(key.startswith("p05 part ") for key in good) > 1
    known = {int(row or 0): "as before"}
    with plan.loader(known_bad=known) as loader:  # honoured for all parts, whichever failed first
        reasons = [failure.reason for batch in loader for failure in batch["failures"]]
    assert reasons == ["as before"] * len(failures)


def test_stale_columns_are_named(split_config: MakeConfig, long_shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(long_shards, tmp_path / "shards"))
    fingerprint = plan_from_config(split_config()).family.text_fingerprint
    tokens = folder / "index" / token_file(fingerprint, "paragraphs")
    starts = folder / "index" / token_file(fingerprint, "paragraph_start")
    begins, all_counts = np.load(starts).tolist(), np.load(tokens).tolist()
    counts = [all_counts[begin:end] for begin, end in itertools.pairwise(begins)]

    def write(rows: list[list[int]]) -> None:
        with write_paragraphs(folder, fingerprint) as writer:
            writer.add(rows)

    write([[count + 1 for count in row] for row in counts])
    with (
        plan_from_config(split_config(folder)).loader() as loader,
        pytest.raises(
            ShardError, match=r"(?s)page '.* part \d/\d' of .*: planned \d+ tokens.*wdstream lengths .* --paragraphs`"
        ),
    ):
        list(loader)
    row = next(row for row, of_row in enumerate(counts) if len(of_row) >= 6)
    joined = [sum(counts[row][:2]), *counts[row][2:]]
    write([*counts[:row], joined, *counts[row + 1 :]])
    with (
        plan_from_config(split_config(folder)).loader() as loader,
        pytest.raises(ShardError, match=r"planned \d paragraphs, found \d; .*wdstream lengths .* --paragraphs"),
    ):
        list(loader)
    starts.unlink()
    again = rf"`wdstream lengths {folder} --tokenizer PATH --paragraphs`"
    with pytest.raises(ShardIndexError, match=rf"paragraph_start\..* is listed .* and is not there; .*{again}"):
        plan_from_config(split_config(folder))
    plan_from_config(split_config(folder, overlength="reject"))
    merge_index(folder)  # takes it off the list
    assert not tokens.exists()
    with pytest.raises(ShardIndexError, match=rf"overlength 'split' needs .*{again}"):
        plan_from_config(split_config(folder))
    plan_from_config(split_config(folder, overlength="reject"))


def shown(report: Any) -> str:
    file = io.StringIO()
    report.print(Console(file=file, width=200))
    return file.getvalue()


def test_plan_says_how_many_pages_are_split(plan: Plan) -> None:
    summary = plan.summary()
    parts = [key for key, _, _ in documents(plan) if " part " in key]
    assert (summary.split_pages, summary.parts) == (len({key.split(" part ")[0] for key in parts}), len(parts))
    assert f"{summary.pages} of" not in shown(summary)
    assert f"{summary.split_pages} of them split into {summary.parts} parts" in shown(summary)


def test_where_names_the_parts_of_a_page(split_config: MakeConfig) -> None:
    found = where(split_config(), "p05")
    assert len(found.occurrences) == 2 * len({one.name for one in found.occurrences}) > 2  # two epochs
    assert {one.name for one in found.occurrences} >= {"p05 part 1/3", "p05 part 2/3", "p05 part 3/3"}
    assert f"p05 part 1/3: step {found.occurrences[0].step}, pack" in shown(found)
    assert where(split_config(), "p16").reason == "too many tokens"
    assert {one.name for one in where(split_config(), "p00").occurrences} == {"p00"}


def test_where_takes_the_name_of_a_part_as_trace_prints_it(split_config: MakeConfig, split_run: Path) -> None:
    steps = range(len(read_run(split_run).steps))
    traced: dict[str, list[Occurrence]] = {}
    for step in steps:
        for page in trace(split_run, step=step).pages:
            traced.setdefault(page.key, []).append(Occurrence(name=page.key, step=step, pack=page.pack, slot=page.slot))
    config = read_run(split_run).config
    names = [name for name in traced if name.startswith(("p05", "p04", "p00"))]
    assert {"p05 part 1/3", "p05 part 2/3", "p05 part 3/3", "p04 part 1/3", "p00"} <= set(names)
    for name in names:
        found = where(config, name)
        assert found.occurrences == tuple(sorted(traced[name], key=lambda one: (one.pack, one.slot)))
        assert found.key == name
    of_page = where(config, "p05").occurrences
    assert sorted(of_page, key=str) == sorted(
        (one for name in names if name.startswith("p05") for one in traced[name]), key=str
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p05 part 3/2", r"page 'p05' has no part that is called 'p05 part 3/2': its parts are 'p05 part 1/3', "),
        ("p05 part 0/3", r"no part that is called .* 'p05 part 2/3', 'p05 part 3/3'$"),
        ("p05 part 4/3", r"no part that is called"),
        ("p00 part 1/2", r"page 'p00' has no part .*: it is not split in this plan; ask for 'p00'"),
        ("p16 part 1/2", r"page 'p16' has no part .*: it is not split in this plan; ask for 'p16'"),
        ("nobody part 1/2", r"no dataset has a page with the key 'nobody'; looked in"),
        ("p05 part 1", r"no dataset has a page with the key 'p05 part 1'; looked in"),
    ],
)
def test_where_names_the_parts_there_are(split_config: MakeConfig, name: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        where(split_config(), name)


def test_a_key_that_looks_like_the_name_of_a_part(
    tmp_path: Path, tiny_model: Path, long_shards: Path, split_config: MakeConfig
) -> None:
    """A page's own key comes first; in several datasets a part is meant wherever there is one of that name."""
    from wdstream.make_shards import index_folder

    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "a.tar", "w") as tar:
        info = tarfile.TarInfo("p05 part 1/3.txt")
        info.size = 12
        tar.addfile(info, io.BytesIO(b"a short text"))
    index_folder(tmp_path / "shards", tiny_model, paragraphs=True, workers=1)
    config = split_config(tmp_path / "shards", epochs=1)
    assert [one.name for one in where(config, "p05 part 1/3").occurrences] == ["p05 part 1/3"]
    twice = split_config(long_shards, Path(shutil.copytree(long_shards, tmp_path / "again")), epochs=1)
    assert [one.name for one in where(twice, "p05 part 1/3").occurrences] == ["p05 part 1/3"] * 2
    with pytest.raises(PlanError, match=r"its parts are 'p05 part 1/3', 'p05 part 2/3', 'p05 part 3/3'$"):
        where(twice, "p05 part 4/3")


def test_show_says_why_the_end_of_a_part_is_not_supervised(split_config: MakeConfig, plan: Plan) -> None:
    views = [show_pack(split_config(epochs=1), CONFIG, step=step.step, pack=0) for step in plan.steps()]
    document = next(one for view in views for one in view.documents if one.key.endswith(" part 1/2"))
    assert [span.kind for span in document.spans] == ["image", *["text"] * (len(document.spans) - 2), "end"]
    assert document.spans[-1].mask == Mask.CONTINUES
    assert all(span.mask is None for span in document.spans[1:-1])
    last = next(one for view in views for one in view.documents if one.key.endswith(" part 2/2"))
    assert last.spans[-1].mask is None
    view = next(view for view in views if document in view.documents)
    file = io.StringIO()
    print_pack(view, Console(file=file, width=160))
    assert document.key in file.getvalue()
    assert "masked: text continues" in file.getvalue()
    assert '<span class="end">text continues</span>' in render_html(view)


def test_show_of_a_failed_part(split_config: MakeConfig, damaged: Path) -> None:
    config = split_config(damaged, epochs=1)
    views: list[PackView] = [
        show_pack(config, CONFIG, step=step.step, pack=place)
        for step in plan_from_config(config).steps()
        for place in range(len(step.packs))
    ]
    failed = [one for view in views for one in view.documents if one.failure is not None]
    assert sorted(one.key for one in failed) == ["p05 part 1/3", "p05 part 2/3", "p05 part 3/3"]
    assert {span.mask for one in failed for span in one.spans} == {Mask.FAILED}


@pytest.fixture(scope="session")
def split_run(tmp_path_factory: pytest.TempPathFactory, split_config: MakeConfig, damaged: Path) -> Path:
    """What a run over split pages leaves, one of them damaged; 2 ranks, then from step 3 on 1."""
    folder = tmp_path_factory.mktemp("split_run")
    write_ledger(folder, split_config(damaged), [(2, 0, 3), (1, 3, 1000)], state_every=1)
    return folder


def test_trace_names_parts_and_marks_all_of_a_page_that_failed(split_run: Path) -> None:
    steps = len(read_run(split_run).steps)
    pages = [page for step in range(steps) for page in trace(split_run, step=step).pages]
    assert {"p04 part 1/3", "p04 part 2/3", "p04 part 3/3", "p00"} <= {page.key for page in pages}
    assert {page.key for page in pages if page.planned and page.planned.is_quarantined} == {
        f"p05 part {number}/3" for number in (1, 2, 3)
    }
    of_page = [page for page in pages if page.key.startswith("p05 part ")]
    assert len(of_page) == 6
    assert len({(one.shard, one.offset, one.nbytes) for page in of_page if (one := page.planned)}) == 1
    [line] = (split_run / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "p05"


def test_audit_proves_parts_and_names_each_fault(split_run: Path, tmp_path: Path) -> None:
    report = audit(split_run)
    assert report.differences == []
    assert report.quarantined == 6
    assert report.parts > 20
    assert f"({report.parts} of them parts of pages) - 6 quarantined = {report.trained} trained" in shown(report)
    plan = plan_from_config(read_run(split_run).config)
    keys = {pack.number: list(map(plan.key, pack.samples)) for pack in plan.step(1).packs}
    pack, place = next((n, p) for n, names in keys.items() for p, key in enumerate(names) if " part " in key)
    name, other = keys[pack][place], next(n for n in keys if n != pack)
    number, count = map(int, name.split(" part ")[1].split("/"))
    faults: list[tuple[dict[int, list[str]], str]] = [
        ({**keys, pack: keys[pack][:place] + keys[pack][place + 1 :]}, f"page '{name}' of pack {pack} was dropped"),
        ({**keys, other: [name, *keys[other]]}, f"page '{name}' of pack {pack} came twice, again in pack {other}"),
        (
            {**keys, pack: [keys[other][0] if key == name else key for key in keys[pack]]}
            | {other: [name, *keys[other][1:]]},
            f"'{name}' of pack {pack}",
        ),
        # another part of the same page in its place is not a planned page of the step, or comes twice
        (
            {
                **keys,
                pack: [
                    f"{name.split(' part ')[0]} part {number % count + 1}/{count}" if key == name else key
                    for key in keys[pack]
                ],
            },
            "step 1: ",
        ),
    ]
    for run, (trained, message) in enumerate(faults):
        copy = Path(shutil.copytree(split_run, tmp_path / str(run)))
        lines = [json.loads(line) for line in (copy / "steps.jsonl").read_text().splitlines()]
        lines[1]["digest"] = pages_digest(trained.items())
        (copy / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert any(message in difference for difference in audit(copy).differences), message


def test_command_line(split_config: MakeConfig, long_shards: Path, tmp_path: Path) -> None:
    """The plan of shards whose paragraphs were not counted names the command that counts them."""
    import yaml

    folder = Path(shutil.copytree(long_shards, tmp_path / "shards"))
    for path in (folder / "index").glob("paragraph*"):
        path.unlink()
    cfg, config = tmp_path / "cfg.yaml", split_config(folder, epochs=1, overlength="reject")
    cfg.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    command = ["plan", str(cfg), "--set", "data.overlength=split", "--json"]
    [named] = re.findall("`wdstream (.*)`", str(CliRunner().invoke(app, command).exception))
    assert named == f"lengths {folder} --tokenizer PATH --paragraphs"
    counted = CliRunner().invoke(app, named.replace("PATH", str(config.model.path)).split())
    assert counted.exit_code == 0, counted.output
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["parts"] > json.loads(done.output)["split_pages"] > 0
