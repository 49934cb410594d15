"""What a start may not change of the run that it continues, each refused by name, before anything is loaded.

Spans: train.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.training import Workplace
from wdstream.config.adapter import AdapterConfig
from wdstream.errors import ConfigError
from wdstream.train.saving.continued import require_same_adapter

BEFORE = {"r": 4, "alpha": 8, "modules_to_save": ["projector", "lm_head"]}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"r": 8}, "r: 4 then, 8 now"),
        ({"alpha": 16}, "alpha: 8 then, 16 now"),
        ({"alpha": 16, "rslora": True}, "alpha: 8 then, 16 now; rslora: False then, True now"),
        ({"parts": ["vision"]}, r"parts: \['language'\] then, \['vision'\] now"),
        ({"modules_to_save": []}, r"modules_to_save: \['lm_head', 'projector'\] then, \[\] now"),
        ({"alpha_pattern": {"q_proj": 2}}, r"alpha_pattern: \[\] then, \[\('q_proj', 2\)\] now"),
        ({"kind": "qlora"}, "kind: lora then, qlora now"),
    ],
)
def test_another_adapter(chosen: dict[str, Any], message: str) -> None:
    before, after = AdapterConfig.of(BEFORE), AdapterConfig.of({**BEFORE, **chosen})
    with pytest.raises(ConfigError, match=rf"train.adapter: step-2 was written with another one \({message}\)"):
        require_same_adapter(before, after, Path("step-2"))


def test_the_same_in_other_words() -> None:
    words = {"parts": ["language"], "modules_to_save": ["lm_head", "projector"], "dropout": 0.3}
    require_same_adapter(AdapterConfig.of(BEFORE), AdapterConfig.of({**BEFORE, **words}), Path("step-2"))
    require_same_adapter(None, None, Path("step-2"))


@pytest.mark.parametrize("has_one", [True, False])
def test_none_and_one(has_one: bool) -> None:
    before, after = (AdapterConfig.of(BEFORE), None) if has_one else (None, AdapterConfig.of(BEFORE))
    with pytest.raises(ConfigError, match=r"\(kind: (lora|no adapter) then, (lora|no adapter) now\)"):
        require_same_adapter(before, after, Path("step-2"))


def test_runs(workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of one that began: with the record of it, without one, and with an average that had begun."""
    common = ("data.eval=[]", "train.max_steps=4", "train.lr=0.003")
    lora, ema = "train.adapter={r: 4, alpha: 8}", "train.ema={decay: 0.5}"
    assert workplace.train(tmp_path, *common, lora, ema, "train.stop_after=1") == 0
    assert workplace.train(tmp_path, *common, "train.adapter={r: 4, alpha: 64}") == 2
    assert "(alpha: 8 then, 64 now), and an adapter cannot change" in capfd.readouterr().err
    assert workplace.train(tmp_path, *common, lora, "train.ema={decay: 0.5, from_step: 2}") == 2
    assert "train.ema.from_step: 2: the average that" in capfd.readouterr().err
    (tmp_path / "run.json").unlink()
    assert workplace.train(tmp_path, *common, "train.adapter={r: 8, alpha: 8}") == 1
    assert "is not of this model and train.adapter: " in capfd.readouterr().err
