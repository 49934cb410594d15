"""`wdstream show`: the pack it shows is the one that is trained, and what cannot be shown is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError, ShardIndexError
from wdstream.report.explain import show_pack
from wdstream.report.view import Mask

CONFIG = Path("cfg.yaml")


@pytest.fixture(scope="module")
def config(small_shards: Path, stream_config: Callable[..., Config]) -> Config:
    return stream_config(small_shards, global_batch_size=2)


def test_every_pack_is_the_one_that_is_trained(config: Config) -> None:
    """Spans, keys and masks against the batches of the real loader."""
    with plan_from_config(config).loader() as loader:
        batches = {batch["packs"][0]: batch for _, batch in zip(range(6), loader, strict=False)}
    for number, batch in sorted(batches.items()):
        view = show_pack(config, CONFIG, step=number // 2, pack=number % 2)
        assert view.number == number
        assert [document.key for document in view.documents] == batch["keys"][0]
        assert [document.num_tokens for document in view.documents] == batch["lengths"][0]
        runs = [run for document in view.documents for run in document.spans]
        supervised = np.concatenate([np.full(run.num_tokens, run.mask is None) for run in runs])
        np.testing.assert_array_equal(supervised, batch["labels"][0].numpy() != -100)
        assert view.num_tokens == len(supervised)
        assert view.num_patches == len(batch["pixel_values"])
        assert view.num_supervised + sum(view.masked.values()) == view.num_tokens


def test_a_shrunk_page(small_shards: Path, stream_config: Callable[..., Config]) -> None:
    config = stream_config(small_shards, sequence_length=128, overlength="downscale", global_batch_size=1)
    plan = plan_from_config(config)
    step = next(step for step in plan.steps() if min(step.packs[0].scales) < 64)
    place = next(place for place, scale in enumerate(step.packs[0].scales) if scale < 64)
    document = show_pack(config, CONFIG, step=step.step).documents[place]
    dataset, row = plan.locate(document.sample)
    start = int(plan.shards[dataset].image_start[row])
    width = int(plan.shards[dataset].image_width[start])
    assert document.images[0].size[0] == (width * document.scale + 32) // 64 < width


def test_pages_in_the_runs_quarantine_are_shown_as_trained(config: Config, tmp_path: Path) -> None:
    """A disk that failed for a moment: the page is sound again, but the run has not supervised it."""
    config = config.model_copy(update={"train": config.train.model_copy(update={"output": tmp_path})})
    views = (show_pack(config, CONFIG, step=step) for step in range(20))
    sound = next(view for view in views if len(view.documents) > 1)
    step = sound.step
    first, second = sound.documents[:2]
    assert first.failure is None and Mask.FAILED not in sound.masked

    def listed(**changes: Any) -> list[str | None]:
        line = {"step": step, "key": first.key, "sample": first.sample, "reason": "disk gone", **changes}
        (tmp_path / "quarantine.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        return [document.failure for document in show_pack(config, CONFIG, step=step).documents]

    reason = f"disk gone (in {tmp_path / 'quarantine.jsonl'} since step {step})"
    assert listed() == [reason, *[None] * (len(sound.documents) - 1)]
    view = show_pack(config, CONFIG, step=step)
    assert view.masked[Mask.FAILED] == first.num_tokens == view.documents[0].num_tokens
    assert view.documents[1] == second
    nothing = [None] * len(sound.documents)
    assert listed(step=step + 1) == nothing  # it was trained on, and failed later
    assert listed(key="another") == nothing  # a list of other data


def test_an_empty_pack_at_the_end(small_shards: Path, stream_config: Callable[..., Config]) -> None:
    config = stream_config(small_shards, global_batch_size=64, tail="pad")
    view = show_pack(config, CONFIG, pack=63)
    assert (view.documents, view.num_tokens, view.masked) == ((), 0, {})


def test_what_is_not_there_is_named(config: Config, tmp_path: Path) -> None:
    total = plan_from_config(config).total_steps()
    with pytest.raises(PlanError, match=f"step {total}: the run has {total} steps, numbered from 0"):
        show_pack(config, CONFIG, step=total or 0)
    with pytest.raises(PlanError, match=r"pack 2: step 0 has 2 packs \(data.global_batch_size\), numbered from 0"):
        show_pack(config, CONFIG, pack=2)
    ending = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": 3})})
    with pytest.raises(PlanError, match=r"step 3: the run ends after 3 steps \(train.max_steps\), numbered from 0"):
        show_pack(ending, CONFIG, step=3)
    data = config.data.model_copy(update={"train": (config.data.train[0].model_copy(update={"path": str(tmp_path)}),)})
    with pytest.raises(ShardIndexError, match=f"{tmp_path} has no index"):
        show_pack(config.model_copy(update={"data": data}), CONFIG)


def test_command_line(config: Config, tmp_path: Path) -> None:
    cfg = tmp_path / "cfg.yaml"
    cfg.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    runner = CliRunner()
    shown = runner.invoke(app, ["show", str(cfg), "--step", "1", "--pack", "1", "--set", "data.seed=3"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("step 1, pack 1 ──")
    assert "masked: image block" in shown.output
    written = runner.invoke(app, ["show", str(cfg), "--html", str(tmp_path / "pack.html"), "--full"])
    assert written.exit_code == 0, written.output
    assert "step 0, pack 0: " in written.output
    assert (tmp_path / "pack.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
