"""What another setting leaves without effect is refused of a configuration that somebody wrote, by every command."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.command import run as wdstream
from wdstream.config.idle import adapter_parts, idle_settings
from wdstream.config.schema import Config, load_config
from wdstream.errors import ConfigError

HELD_OUT = [{"path": "e", "name": "held_out"}]
EVALUATED: dict[str, Any] = {"data": {"train": [{"path": "s"}], "eval": HELD_OUT}}
STREAMED = {"train": [{"path": "s", "name": "tars"}], "streaming": {}, "planning": "thread"}


def idle(tree: dict[str, Any]) -> list[str]:
    return list(idle_settings(Config.of({"model": {"path": "m"}, "data": {"train": [{"path": "s"}]}, **tree})))


@pytest.mark.parametrize(
    ("tree", "messages"),
    [
        ({"train": {"eval_every": 5}}, ["train.eval_every: has no effect: data.eval names no set"]),
        ({"train": {"generate": {}}}, ["train.generate: has no effect: data.eval names no set"]),
        ({"train": {"ema": {"eval_with": "ema"}}}, ["train.ema.eval_with: has no effect: data.eval names no set"]),
        ({"train": {"ema": {}}}, []),
        ({**EVALUATED, "train": {"eval_every": 5, "generate": {}, "ema": {"eval_with": "ema"}}}, []),
        ({**EVALUATED, "train": {"eval_every": 5, "keep_best": {"set": "held_out"}}}, []),
        ({**EVALUATED, "train": {"eval_every": 5, "keep_best": {"set": "a"}}}, ["has no set 'a'; known: held_out"]),
        ({**EVALUATED, "train": {"keep_best": {"set": "held_out"}}}, ["the only evaluation is that after the last"]),
        (
            {**EVALUATED, "train": {"eval_every": 5, "keep_best": {"set": "held_out", "figure": "wer"}}},
            ["train.keep_best.figure: wer is of pages that the model writes"],
        ),
        ({"data": {"train": [{"path": "a", "loss_weight": 2}]}}, ["loss_weight: 2.0 of every dataset has no effect"]),
        ({"data": {"train": [{"path": "a", "loss_weight": 2}, {"path": "b"}]}}, []),
        (
            {"data": STREAMED},
            ["data.planning: has no effect with data.streaming", "data.train: name: has no effect with data.streaming"],
        ),
        (
            {"train": {"adapter": {}, "stages": [{"train": ["projector"], "steps": 1}, {"train": ["language"]}]}},
            ["train.stages.0.train: projector: has no effect: train.adapter trains .* here of language;"],
        ),
        ({"train": {"adapter": {}, "parts": {"vision": {"lr": 1}}}}, ["train.parts.vision: has no effect"]),
        ({"train": {"adapter": {"parts": ["vision"]}, "parts": {"vision": {"lr": 1}}}}, []),
    ],
)
def test_what_has_no_effect(tree: dict[str, Any], messages: list[str]) -> None:
    found = idle(tree)
    assert len(found) == len(messages), found
    for sentence, message in zip(found, messages, strict=True):
        with pytest.raises(ConfigError, match=message):
            raise ConfigError(sentence)


def test_of_what_an_adapter_trains() -> None:
    def parts(**adapter: Any) -> Any:
        config = Config.of({"model": {"path": "m"}, "data": {"train": [{"path": "s"}]}, "train": {"adapter": adapter}})
        assert config.train.adapter is not None
        return adapter_parts(config.train.adapter)

    assert parts() == {"language"}
    assert parts(parts=["vision"], train_tokens=["<stamp>"]) == {"vision", "embeddings"}
    assert parts(modules_to_save=["projector", "lm_head"]) == {"language", "projector", "embeddings"}
    assert parts(modules_to_save=["merger"]) is None and parts(target_modules="q_proj") is None


def test_a_file_is_refused_by_plan_too_and_an_earlier_run_is_read(tmp_path: Path) -> None:
    tree = {"model": {"path": "m"}, "data": {"train": [{"path": "s"}]}, "train": {"eval_every": 5, "generate": {}}}
    path = tmp_path / "cfg.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"cfg.yaml:\n  train.eval_every: .*\n  train.generate: "):
        load_config(path)
    planned = wdstream("plan", path)
    assert planned.returncode == 2 and "train.eval_every: has no effect" in planned.stderr
    assert Config.of(tree).train.eval_every == 5
    assert load_config(path, is_trained=False) == Config.of(tree)


def test_a_run_that_has_begun_continues_with_what_was_taken_then(tmp_path: Path) -> None:
    path, output = tmp_path / "cfg.yaml", tmp_path / "run"
    tree = {"model": {"path": "m"}, "data": {"train": [{"path": "s", "loss_weight": 2}]}, "train": {"eval_every": 5}}
    path.write_text(yaml.safe_dump(tree))
    output.mkdir()
    (output / "run.json").touch()
    assert load_config(path, (f"train.output={output}",)).train.eval_every == 5
    with pytest.raises(ConfigError, match=r"keep_best.set: data.eval has no set"):
        load_config(path, (f"train.output={output}", "train.keep_best={set: held_out}"))
