"""A run over pages, sets and a model folder whose names and texts are written to act on a terminal: nothing of it does.

Spans: train, runs, report, commands, proofs.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.commands.test_hostile_names import ESC, assert_inert
from tests.helpers import checkpoints as variants
from tests.helpers.command import run
from tests.helpers.training import Workplace
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.reader import Shards


@pytest.fixture(scope="module")
def hostile(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of pages with hostile names and texts, one of them damaged, and a model in a folder with such a name."""
    from PIL import Image

    root = tmp_path_factory.mktemp("hostile")
    raw = root / "raw"
    raw.mkdir()
    for number in range(6):
        path = raw / f"page-{number}{ESC}.png"
        Image.effect_noise((64 + number, 90), 80).convert("RGB").save(path, format="PNG")
        path.with_suffix(".txt").write_text(f"word {ESC} <{ESC}> " * 5)
    model = Path(shutil.copytree(workplace.root / "model", root / f"model{ESC}"))
    made = root / f"shards{ESC}"
    make_shards(raw, made, options=MakeShardsOptions(tokenizer=model, workers=1))
    shards = Shards.open(made)
    with (made / shards.shard_names[0]).open("r+b") as file:
        file.seek(int(shards.offset[2]) + 600)
        file.write(b"\0" * 40)
    return root


def test_nothing_of_a_run_acts(hostile: Path, workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    output = hostile / f"run{ESC}"
    shards = json.dumps(str(hostile / f"shards{ESC}"))
    name = json.dumps(f"set{ESC}")
    settings = (
        f"model.path={json.dumps(str(hostile / f'model{ESC}'))}",
        f"data.train=[{{path: {shards}, name: {name}, weight: 1}}, {{path: {shards}, weight: 1, name: other}}]",
        f"data.eval=[{{path: {shards}, name: {name}}}]",
        "data.max_bad_fraction=1",
        "train.generate={max_pages: 2, max_new_tokens: 4}",
        "train.max_steps=2",
    )
    written = (*settings[:5], "train.max_steps=2", f"train.output={json.dumps(str(output))}")
    assert workplace.train_with(written) == 0
    said = "".join(capfd.readouterr())
    assert "set␛]0;owned␇" in said and "page" in said
    assert_inert(said, "training")
    config = [str(workplace.config_file), *(word for setting in settings for word in ("--set", setting))]
    opened = Shards.open(hostile / f"shards{ESC}")
    key = opened.key(3)
    for command in (
        ["trace", str(output), "--step", "0"],
        ["audit", str(output)],
        ["evaluate", str(output)],
        ["evaluate", str(output), "--json"],
        ["plan", *config],
        ["show", *config],
        ["digest", *config, "--steps", "0:1"],
        ["where", config[0], key, *config[1:]],
        ["doctor", str(hostile / f"model{ESC}")],
    ):
        done = run(*command)
        assert "Traceback" not in done.stderr, command[0]
        assert_inert(done.stdout + done.stderr, command[0])
        assert_inert("".join(capfd.readouterr()), command[0])
        assert done.returncode == 0, (command[0], done.stderr)


def test_nothing_of_a_refused_checkpoint_acts(
    hostile: Path, workplace: Workplace, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names of weights, of tokens, and what a chat template says of itself."""
    model = Path(shutil.copytree(workplace.root / "model", hostile / "bad"))
    variants.edit_weights(model, lambda found: {**found, f"model.{ESC}.weight": found["model.embed_tokens.weight"] + 1})
    path = f"model.path={json.dumps(str(model))}"
    assert workplace.train_with((path, f"train.output={json.dumps(str(hostile / 'refused'))}")) == 1
    done = run("doctor", model)
    trained = "".join(capfd.readouterr())
    assert "without a place in the model: model.language_model.␛]0;owned" in trained
    assert done.returncode == 1 and "NOT fit for wdstream" in " ".join(done.stdout.split())  # of any width
    for said in (trained, done.stdout + done.stderr):
        assert_inert(said, "a refused checkpoint")
