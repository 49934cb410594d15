"""The README's own flow, as printed: its lines in a shell, from a folder of mixed pages to an evaluated model.

Nothing in the lines is changed. In place of the weights is a tiny model with random ones, under the same name, and the
sizes of the shipped configuration are cut, by name, so that two steps on a CPU are enough.

Spans: docs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.paths import PAGES, ROOT
from wdstream.runs.record import read_run
from wdstream.shards.reader import Shards

INSTALL = "pip install -c constraints.txt -e '.[train,pdf]'"
"""What made the environment of this test."""
MODEL = "models/Qwen2.5-VL-3B-Instruct"
CONFIG = "configs/qwen2_5-vl-3b-lora.yaml"
CUTS = {
    "sequence_length: 8192 ": "sequence_length: 4096 ",
    "max_patches: 32768 ": "max_patches: 16384 ",
    "global_batch_size: 32 ": "global_batch_size: 8 ",
    "max_steps: 2000": "max_steps: 2",
    "# generate: {max_pages: 16, max_new_tokens: 1024}": "generate: {max_pages: 1, max_new_tokens: 2}",
}


def flow() -> list[str]:
    """The lines of the shell block under "On your own pages"."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## On your own pages\n\n```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def test_each_file_names_one_model_and_one_folder_of_shards() -> None:
    texts = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "configs").glob("*.yaml")))}
    named = {(name, model) for name, text in texts.items() for model in re.findall(r"models/[\w.-]+", text)}
    by_file = {name: {model for file, model in named if file == name} for name in texts}
    assert by_file["README.md"] == by_file[Path(CONFIG).name] == {MODEL}
    assert all(len(models) <= 1 for models in by_file.values())
    assert not [name for name, text in texts.items() if re.search(r"(shards|raw)[-_]eval", text)]
    first = flow()[0], flow()[1]
    assert first == (INSTALL, "")


def test_flash_attention_is_optional_and_has_its_install_line() -> None:
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        assert not re.search(r"^\s*attn: (?!sdpa)", path.read_text(), re.MULTILINE), path
    assert "pip install flash-attn" in (ROOT / "docs" / "training.md").read_text()


def write_rows(folder: Path) -> None:
    """60 rows of a small picture and a text, next to the files of tests/data/pages."""
    folder.mkdir()
    rows = []
    for number in range(60):
        Image.new("RGB", (120 + number, 90), (number, 200, 240)).save(folder / f"{number}.png")
        rows.append({"text": f"<image>row {number}", "images": [f"{number}.png"], "number": number})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def cut_sizes(path: Path) -> None:
    text = path.read_text()
    for old, new in CUTS.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def environment() -> dict[str, str]:
    """That of a shell in which the environment was activated, with this working tree in front."""
    activated = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": activated, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}


def evaluations(run: Path) -> Iterator[dict[str, object]]:
    yield from map(json.loads, (run / "eval.jsonl").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_flow_runs_as_printed(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    shutil.copytree(PAGES, tmp_path / "raw")
    write_rows(tmp_path / "raw" / "receipts")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    cut_sizes(tmp_path / CONFIG)
    shutil.copytree(tiny_models["qwen2_5_vl"], tmp_path / MODEL)
    lines = flow()
    script = "set -e -o pipefail\n" + "\n".join(line for line in lines if line != INSTALL)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shards = Shards.open(tmp_path / "shards")
    assert shards.held_out is not None
    count = int(shards.held_out.sum())
    assert 50 <= count < len(shards) == 104
    assert f"held out (50 by file): {count} of 104 pages" in done.stdout
    assert f"{count} of 104 samples of shards are held out, and left out" in done.stdout + done.stderr
    run = tmp_path / "runs" / "qwen2_5-vl-3b-lora"
    assert len(read_run(run).steps) == 2
    assert [line["name"] for line in evaluations(run)] == ["held_out"]
    assert "finished after 2 steps" in done.stdout + done.stderr
    assert "<html" in (tmp_path / "pack.html").read_text()
    assert done.stdout.count(": CER ") >= 1 and "held_out: loss " in done.stdout
