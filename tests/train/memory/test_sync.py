"""Whether gradients are kept whole follows from the estimate of memory."""

from pathlib import Path

import pytest
from accelerate import Accelerator

from tests.helpers.launches import AS_GPUS
from tests.helpers.processes import run_world
from tests.helpers.training import Workplace, arguments, make_config
from wdstream.families.registry import load_family
from wdstream.storage.json_lines import read_lines
from wdstream.train.memory import sync
from wdstream.train.memory.automatic import MARGIN
from wdstream.train.memory.estimate import GIB, SET_ASIDE, estimate_memory
from wdstream.train.memory.sync import choose_sync, settle_sync


def test_it_is_chosen_where_whole_gradients_do_not_fit(tiny_model: Path) -> None:
    config, family = make_config(tiny_model, sync_each_micro_batch="auto"), load_family(tiny_model)
    data = config.data.replace(global_batch_size=4, sequence_length=1024, max_patches=1024)
    config = config.replace(data=data)
    way = estimate_memory(config, family, world=2, gpu_gib=80).ways["fsdp2"]["false"]
    fixed = way.weights + way.gradients + way.optimizer + way.average + way.gathered + way.casts + way.logits
    needed = (fixed + way.per_pack + SET_ASIDE) / GIB / (1 - MARGIN)
    chosen, note = choose_sync(config, family, world=2, gib=needed * 1.001)
    assert not chosen and note is not None and "auto: false, as 0.0 GiB of whole gradients fit into" in note
    chosen, note = choose_sync(config, family, world=2, gib=needed * 0.999)
    assert chosen and note is not None and "auto: true, as 0.0 GiB of whole gradients do not fit into" in note
    assert choose_sync(config, family, world=4, gib=0.1) == (False, None)  # one micro-batch on each process
    assert choose_sync(config, family, world=2, gib=0.1) == (
        True,
        "train.sync_each_micro_batch: auto: true, as 0.0 GiB "
        "of whole gradients do not fit into 0.1 GiB with the rest of a step",
    )


@pytest.mark.slow
def test_both_choices_train_alike_under_fsdp2(workplace: Workplace, tmp_path: Path) -> None:
    """Two processes with two micro-batches each, which get a limit of memory."""
    settings = (
        "train.adapter=null",
        "data.global_batch_size=4",
        "train.max_steps=4",
        "data.eval=[]",
        "train.lr=0.0001",
        "train.gradient_checkpointing=false",
        "train.sync_each_micro_batch=auto",
    )
    found = []
    for gib, said in (
        ("80", "auto: false, as 0.0 GiB of whole gradients fit into 80.0"),
        ("1.6", "auto: true, as 0.0 GiB of whole gradients do not fit into 1.6"),
        ("null", ""),
    ):
        output = tmp_path / gib
        printed = run_world(
            AS_GPUS, ["fsdp2", *arguments(workplace, output, *settings, f"train.gpu_gib={gib}")], size=2
        )
        assert said in printed and printed.count("train.sync_each_micro_batch") == bool(said)
        found.append([(line["loss"], line["grad_norm"]) for line in read_lines(output / "metrics.jsonl")])
    assert found[0] == found[2] and found[0] != found[1]  # the sums are made in another order
    assert found[1] == [pytest.approx(pair, rel=1e-6) for pair in found[0]]


def test_without_fsdp2_it_is_false(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sync, "estimate_memory")  # nothing is estimated
    config, messages = make_config(tiny_model, sync_each_micro_batch="auto"), list[str]()
    settled = settle_sync(config, load_family(tiny_model), Accelerator(cpu=True), messages)
    assert settled.train.sync_each_micro_batch is False and messages == []
    assert settled.replace(train=config.train) == config
