"""Two real processes that do not begin alike: each difference is named, with rank, machine and both values."""

import json
import shutil
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import finish, start_world
from tests.helpers.training import Workplace
from wdstream.train.launch.same_start import model_facts

WORKER = str(ROOT / "tests" / "workers" / "each_its_own.py")


def begin(workplace: Workplace, first: dict[str, Any], second: dict[str, Any]) -> tuple[set[int | None], str]:
    """The statuses of a start on two ranks, of which each has `cwd`, `version` and `settings`; what rank 0 says."""
    ranks = []
    for own in (first, second):
        settings = ["train.max_steps=1", *own["settings"]]
        arguments = [str(workplace.config_file), *(w for s in settings for w in ("--set", s))]
        ranks.append({"cwd": str(own.get("cwd", ROOT)), "version": own.get("version"), "arguments": arguments})
    results = finish(start_world(WORKER, [json.dumps(ranks)], size=2))
    return {status for status, _ in results}, " ".join(results[0][1].split())


def test_everything_that_differs_is_named_at_once(workplace: Workplace, tmp_path: Path) -> None:
    """Another working directory, so another output folder; another model, evaluation set, learning rate and version of
    torch. Copies of
    the data, and another number of threads, do not count."""
    (tmp_path / "elsewhere").mkdir()
    model = Path(shutil.copytree(workplace.root / "model", tmp_path / "model"))
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    shards = shutil.copytree(workplace.root / "shards", tmp_path / "shards")
    other_set = shutil.copytree(workplace.root / "shards", tmp_path / "shards-eval")
    same, copies = ("train.output=run",), (f"data.train=[{{path: {shards}}}]", "data.workers=2")
    evaluated = f"data.eval=[{{name: held_out, path: {other_set}}}]"
    status, said = begin(
        workplace,
        {"cwd": tmp_path, "settings": same},
        {
            "cwd": tmp_path / "elsewhere",
            "settings": (*same, *copies, evaluated, f"model.path={model}", "train.lr=0.5"),
            "version": "1.2.3",
        },
    )
    rank = f"rank 1 on {gethostname()}:"
    assert status == {1}, said
    assert f"{rank} train.output: the file of rank 0 is not in {tmp_path}/elsewhere/run, " in said
    assert f"{rank} configuration: train.lr is 0.5, 0.0001 on rank 0 ({gethostname()})" in said
    assert f"{rank} model: model.safetensors is {len(weights)} bytes, " in said
    assert f"{rank} packages: torch is 1.2.3, " in said
    assert "one folder, which all machines see" in said
    assert f"{rank} evaluation: fingerprint of " in said and " of held_out is " in said
    assert said.count(rank) == 5, said
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left <= {"lock", "failed.rank-0.json", "failed.rank-1.json"}, "nothing but why it failed"


def test_a_rank_that_cannot_open_its_data_is_named(workplace: Workplace, tmp_path: Path) -> None:
    output = f"train.output={tmp_path / 'run'}"
    status, said = begin(
        workplace, {"settings": (output,)}, {"settings": (output, f"data.train=[{{path: {tmp_path}/none}}]")}
    )
    assert status == {1}
    assert f"rank 1 on {gethostname()} cannot open the data: " in said and f"{tmp_path}/none" in said


def test_a_model_folder_has_a_digest_per_file(tmp_path: Path, tiny_model: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    assert model_facts(copy) == model_facts(tiny_model)
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    changed = model_facts(copy)
    assert [name for name, value in model_facts(tiny_model).items() if changed[name] != value] == ["config.json"]


@pytest.mark.parametrize("size", [0, 3, 100])
def test_weights_that_are_cut_short_have_a_digest(size: int, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * size)
    assert str(model_facts(tmp_path)["model.safetensors"]).startswith(f"{size} bytes, ")
