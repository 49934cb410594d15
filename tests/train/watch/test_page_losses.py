"""The loss of each page: whatever the number of processes, over a stop, of a plan and of tars without an index."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.processes import run_world
from tests.helpers.training import TRAIN, Workplace
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.build import plan_from_config
from wdstream.errors import TrainError
from wdstream.families.base import Family
from wdstream.runs.layout import RunLayout
from wdstream.runs.loss_report import report_losses
from wdstream.runs.losses import NO_SAMPLE, LossRows, append_losses, join_rows, read_losses
from wdstream.storage.json_lines import read_lines, write_lines
from wdstream.testing import make_samples
from wdstream.train.step.loss import find_targets
from wdstream.train.watch.page_losses import page_rows

PLAIN = ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.lr=0.01", "train.checkpoint_every=2", "data.eval=[]")
SETTINGS = (*PLAIN, "train.max_steps=5", "train.record_losses=true")


def rows_of(output: Path) -> LossRows:
    return join_rows(list(read_losses(RunLayout(output))))


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_lines(output / "metrics.jsonl")]


def loss_columns(output: Path) -> list[dict[str, float]]:
    lines = read_lines(output / "metrics.jsonl")
    return [{name: value for name, value in line.items() if name.startswith("loss")} for line in lines]


def weights(output: Path) -> bytes:
    return (output / "final" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(workplace: Workplace) -> Path:
    output = workplace.root / "losses-straight"
    assert workplace.train(output, *SETTINGS) == 0
    return output


def test_every_document_of_every_step_sums_to_its_loss(workplace: Workplace, straight: Path) -> None:
    rows, plan = rows_of(straight), plan_from_config(workplace.config(straight))
    for step, loss in enumerate(losses(straight)):
        of_step = rows.where(rows.step == step)
        packs = plan.step(step).packs
        assert of_step.pack.tolist() == [pack.number for pack in packs for _ in pack.samples]
        assert of_step.slot.tolist() == [slot for pack in packs for slot in range(len(pack.samples))]
        assert of_step.sample.tolist() == [sample for pack in packs for sample in pack.samples]
        assert of_step.tokens.tolist() == [tokens for pack in packs for tokens in pack.supervised]
        total = of_step.loss.astype(np.float64).sum()
        assert total / of_step.tokens.sum() == pytest.approx(loss, rel=1e-6)
    assert set(rows.dataset.tolist()) == {0}
    assert len(rows) == sum(line["pages"] for line in read_lines(straight / "steps.jsonl"))


def test_training_does_not_notice(workplace: Workplace, straight: Path, tmp_path: Path) -> None:
    assert workplace.train(tmp_path / "plain", *PLAIN, "train.max_steps=5") == 0
    assert losses(tmp_path / "plain") == losses(straight)
    assert weights(tmp_path / "plain") == weights(straight)
    assert not (tmp_path / "plain" / "losses").exists()


def test_a_run_that_was_cut_short_has_each_row_once(workplace: Workplace, straight: Path, tmp_path: Path) -> None:
    output, file = tmp_path / "run", tmp_path / "run" / "losses" / "pages.blocks"
    assert workplace.train(output, *SETTINGS, "train.stop_after=4") == 0
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 3])  # steps after the checkpoint, and a torn end
    assert workplace.train(output, *SETTINGS) == 0
    assert file.read_bytes() == (straight / "losses" / "pages.blocks").read_bytes()


@pytest.mark.slow
def test_two_processes_write_the_same_rows(workplace: Workplace, straight: Path, tmp_path: Path) -> None:
    settings = (f"train.output={tmp_path / 'two'}", *SETTINGS)
    run_world(TRAIN, [str(workplace.config_file), *(w for s in settings for w in ("--set", s))], size=2)
    ours, wanted = rows_of(tmp_path / "two"), rows_of(straight)
    for name, column in wanted.columns().items():
        if name != "loss":
            assert np.array_equal(getattr(ours, name), column), name
    assert ours.loss == pytest.approx(wanted.loss, rel=1e-4)


def test_tars_without_an_index_have_rows_by_pack_and_slot(workplace: Workplace, tmp_path: Path) -> None:
    data = (
        f"data.train=[{{path: '{next((workplace.root / 'shards').glob('*.tar'))}'}}]",
        "data.streaming={lanes: 1, shuffle_buffer: 4}",
        "data.pool=8",
    )
    assert workplace.train(tmp_path / "run", *SETTINGS, *data) == 0
    rows = rows_of(tmp_path / "run")
    assert set(rows.sample.tolist()) == {NO_SAMPLE}
    lines = {line["step"]: line["packs"] for line in read_lines(tmp_path / "run" / "pages.jsonl")}
    for step, loss in enumerate(losses(tmp_path / "run")):
        of_step = rows.where(rows.step == step)
        named = [(int(pack), slot) for pack, keys in lines[step].items() for slot in range(len(keys))]
        assert list(zip(of_step.pack.tolist(), of_step.slot.tolist(), strict=True)) == named
        assert of_step.loss.sum() / of_step.tokens.sum() == pytest.approx(loss, rel=1e-6)
    files = RunLayout(tmp_path / "run")
    files.losses.unlink()
    for chosen in (rows.step < 2, rows.step >= 2):
        append_losses(files.losses, rows.where(chosen))
    keys = [key for packs in lines.values() for keys in packs.values() for key in keys]
    by_page = report_losses(files.output, by="page", worst=None).lines
    assert {line.name: line.pages for line in by_page} == Counter(keys)
    assert {line.name for line in report_losses(files.output, worst=None).lines} == set(keys)
    write_lines(files.pages, [line for line in files.read_all_pages() if line["step"] < 2])
    with pytest.raises(TrainError, match="the keys of step 2 are missing"):
        report_losses(files.output, by="page")


def test_a_dataset_has_its_own_loss(workplace: Workplace, tmp_path: Path) -> None:
    data = (
        f"data.train=[{{path: {workplace.root}/shards, name: one}}, {{path: {workplace.root}/shards-eval, name: two}}]"
    )
    settings = (*PLAIN, data, "train.max_steps=4", "train.log_every=2")
    kinds = {
        "with": ("train.record_losses=true",),
        "without": (),
        "smooth": ("train.label_smoothing=0.1", "train.z_loss=0.001"),
    }
    for folder, more in kinds.items():
        assert workplace.train(tmp_path / folder, *settings, *more) == 0
    rows = rows_of(tmp_path / "with")
    lines = list(read_lines(tmp_path / "with" / "metrics.jsonl"))
    assert [line["step"] for line in lines] == [1, 3]
    assert set(rows.dataset.tolist()) == {0, 1}
    for first, line in zip((0, 2), lines, strict=True):
        for number, name in enumerate(("one", "two")):
            own = rows.where((rows.step >= first) & (rows.step <= line["step"]) & (rows.dataset == number))
            wanted = own.loss.sum() / own.tokens.sum() if len(own) else None
            assert line.get(f"loss/{name}") == (wanted and pytest.approx(wanted, rel=1e-5))
    columns = {folder: loss_columns(tmp_path / folder) for folder in kinds}
    assert columns["without"] == columns["with"]
    plain, smooth = columns["with"][0], columns["smooth"][0]
    assert smooth["loss"] > plain["loss"] * 1.001
    assert smooth["loss/one"] == pytest.approx(plain["loss/one"], rel=1e-3)  # the plain cross-entropy


def test_rows_of_batches_with_padding_and_pages_that_failed(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    one, two, three = make_samples(family)[:3]
    failed = type(two)(
        key="failed", input_ids=two.input_ids, labels=np.full_like(two.labels, -100), tiles=two.tiles, num_patches=0
    )
    batch = collate([encode_pack([one, failed], family, number=6), encode_pack([three], family, number=7)], family)
    empty = collate([encode_pack([failed], family, number=8)], family)
    num = find_targets(batch.labels).num_supervised
    kept = [torch.arange(num, dtype=torch.float32), torch.tensor([0.0])]
    rows = page_rows(3, [batch, empty], kept, None)
    counts = [int((sample.labels != -100).sum()) for sample in (one, three)]
    assert rows.tokens.tolist() == [counts[0], 0, counts[1], 0]
    assert rows.pack.tolist() == [6, 6, 7, 8] and rows.slot.tolist() == [0, 1, 0, 0]
    assert rows.loss.tolist() == [sum(range(counts[0])), 0.0, sum(range(counts[0], num)), 0.0]
    assert rows.mean[1] == 0.0
