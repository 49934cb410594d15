"""Every ready configuration is started, two steps on tiny weights of the same family in the place of the real ones.

The files are taken as they are, in a folder with the paths that they name; only what would be too large for a CPU is
smaller: the sizes of packs and steps, and the number of steps.

Spans: config, docs.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState
from PIL import Image

from tests.helpers.launches import AS_GPUS, run_launches
from tests.helpers.paths import ROOT
from tests.helpers.shared import SharedFolders
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.storage.json_lines import read_lines
from wdstream.train.__main__ import main

FAMILIES = {
    "Qwen2.5-VL-3B-Instruct": "qwen2_5_vl",
    "Qwen2.5-VL-7B-Instruct": "qwen2_5_vl",
    "Qwen3-VL-4B-Instruct": "qwen3_vl",
    "SmolVLM2-500M-Video-Instruct": "smolvlm",
    "gemma-3-4b-it": "gemma3",
}
OWN_DATA = {"demo", "demo-qlora", "demo-learn", "streaming-lora"}
"""Of the demo, whose tests run them, and of tars on a web server."""
READY = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml") if path.stem not in OWN_DATA)
SMALLER = ("data.sequence_length=1024", "data.max_patches=8192", "data.global_batch_size=2", "train.max_steps=2")
QUICK = {"qwen2_5-vl-3b-lora", "qwen2_5-vl-3b-chat"}
"""The rest is slow, as all of them together take half a minute."""


def text_of(name: str) -> str:
    return (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8")


def model_of(name: str) -> str:
    return Path(yaml.safe_load(text_of(name))["model"]["path"]).name


def write_raw(folder: Path) -> None:
    """Pages, chats and texts: what the configurations train on, small."""
    chats, texts = [], []
    for number in range(12):
        image = Image.new("RGB", (84 + 28 * (number % 3), 112), (200, 16 * number, 90))
        for kind in ("raw", "raw-chat"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            image.save(folder / kind / f"{number}.png")
        (folder / "raw" / f"{number}.txt").write_text(f"page {number}: " + "some words " * (number + 1))
        turns = [{"from": "human", "value": "<image>\nWhich number?"}, {"from": "gpt", "value": f"It is {number}."}]
        chats += [{"image": f"{number}.png", "conversations": turns}] * 8
        texts.append({"text": f"text {number} " * (number + 1)})
    (folder / "raw-chat" / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    (folder / "raw-text").mkdir()
    (folder / "raw-text" / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))


@pytest.fixture
def place(request: pytest.FixtureRequest, shared: SharedFolders, tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A folder that has what the configuration of a test names."""
    model = model_of(request.getfixturevalue("name"))
    tiny = tiny_models[FAMILIES[model]]

    def make(folder: Path) -> None:
        write_raw(folder)
        for kind in ("", "-chat", "-text"):
            options = MakeShardsOptions(tokenizer=tiny, workers=1, holdout=None if kind == "-text" else "2")
            make_shards(folder / f"raw{kind}", folder / f"shards{kind}", options=options)

    made = shared.get(f"ready-{FAMILIES[model]}", make)
    for path in made.glob("shards*"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / model).symlink_to(tiny)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def check_run(place: Path, name: str) -> None:
    """It was the whole run that the configuration describes: steps, an evaluation, a model."""
    tree = yaml.safe_load(text_of(name))
    run = place / tree["train"]["output"]
    assert tree["train"]["output"] == f"runs/{name}"
    steps = list(read_lines(run / "steps.jsonl"))
    assert len(steps) == 2
    evaluated = list(read_lines(run / "eval.jsonl"))
    assert [line["name"] for line in evaluated] == ["held_out"]
    wanted = "adapter_model.safetensors" if "adapter" in tree["train"] else "model.safetensors"
    assert (run / "final" / wanted).is_file()


def settings(name: str) -> list[str]:
    tree = yaml.safe_load(text_of(name))
    stages = ["train.stages=[{steps: 1, train: [projector]}, {train: [language, projector]}]"]
    chosen = [*SMALLER, *(stages if "stages" in tree["train"] else [])]
    return [word for each in chosen for word in ("--set", each)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in READY]
)
def test_it_starts(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert main([f"configs/{name}.yaml", *settings(name)]) == 0
    check_run(place, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2_5-vl-7b-full"])
def test_full_training_is_sharded_as_the_file_says(place: Path, name: str) -> None:
    command = f"accelerate launch --config_file configs/accelerate/fsdp2.yaml -m wdstream.train configs/{name}.yaml"
    assert f"#   {command}\n" in text_of(name)
    words = command.replace("-m wdstream.train", f"--num_processes 2 {AS_GPUS}").split()[2:]
    printed = run_launches([[*words, *settings(name)]], place / "log", folder=place)
    assert "finished after 2 steps" in printed
    check_run(place, name)


def test_each_says_how_to_get_its_model_and_how_to_start_it() -> None:
    for name in READY:
        text, model = text_of(name), model_of(name)
        assert text.startswith("# "), name
        download = re.search(r"^#   hf download [\w.-]+/([\w.-]+) --local-dir models/([\w.-]+)", text, re.MULTILINE)
        assert download is not None and {download[1], download[2]} == {model}, name
        assert re.search(rf"^#   accelerate launch .*-m wdstream.train configs/{name}.yaml$", text, re.MULTILINE), name
        assert f"make-shards raw shards --tokenizer models/{model}" in text or "make-shards raw-chat" in text, name


def test_configurations_and_models_are_those_that_are_tested() -> None:
    assert {model_of(name) for name in READY} == set(FAMILIES)
    assert set(READY) >= QUICK
