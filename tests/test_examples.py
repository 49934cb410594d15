"""Every folder of examples/, from raw files to two training steps, by the commands that examples/README.md prints.

Quickly, all folders are one input; slowly, each command is run as it is printed. A folder without a row in that table,
or without a label here, fails.

Spans: raw, make_shards, shards, pipeline, train, docs.
"""

import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.helpers.command import run
from tests.helpers.paths import ROOT
from tests.helpers.raw_pages import text_of
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.records import Page
from wdstream.runs.trace import trace
from wdstream.shards.reader import Shards
from wdstream.train.__main__ import main

EXAMPLES = ROOT / "examples"
MOST_BYTES = 1_500_000

SENDER = "ACME Inc.\n1918 Tanglewood Road\nJackson, MS, 39201"
CUSTOMER = "Megan J. Stark\n828 Pearcy Avenue\nNorth Manchester, IN, 46942"
NUMBER = "Invoice No: 912345678\nDate: January 1, 2022"
PHOTOTEST = (
    "This is a lot of 12 point text to test the\nocr code and see if it works on all types\nof file format.\n\n"
    "The quick brown dog jumped over the\nlazy fox. The quick brown dog jumped\nover the lazy fox. The quick brown "
    "dog\njumped over the lazy fox. The quick\nbrown dog jumped over the lazy fox."
)
TABLE = (
    "| QUANTITY | DESCRIPTION | UNIT PRICE | TOTAL |\n| --- | --- | --- | --- |\n| 2 | Item 1 | 9.95 | 19.90 |\n"
    "| 5 | Item 2 | 20.00 | 100.00 |\n| 1 | Item 3 | 19.95 | 19.95 |\n| 1 | Item 4 | 123.00 | 123.00 |\n"
    "| 10 | Item 5 | 99.95 | 999.50 |"
)
HTML = (
    "<table><tbody><tr><th>QUANTITY</th><th>DESCRIPTION</th><th>UNIT PRICE</th><th>TOTAL</th></tr>\n"
    "<tr><td>2</td><td>Item 1</td><td>9.95</td><td>19.90</td></tr>\n"
    "<tr><td>5</td><td>Item 2</td><td>20.00</td><td>100.00</td></tr>\n"
    "<tr><td>1</td><td>Item 3</td><td>19.95</td><td>19.95</td></tr>\n"
    "<tr><td>1</td><td>Item 4</td><td>123.00</td><td>123.00</td></tr>\n"
    "<tr><td>10</td><td>Item 5</td><td>99.95</td><td>999.50</td></tr>\n"
    '<tr><td colspan="3">TOTAL DUE</td><td>$1,262.35</td></tr></tbody></table>'
)
EUROTEXT = (
    "The (quick) [brown] {fox} jumps!\nOver the $43,456.78 <lazy> #90 dog\n& duck/goose, as 12.5% of E-mail\n"
    "from aspammer@website.com is spam.\nDer ,.schnelle” braune Fuchs springt\niiber den faulen Hund. Le renard brun\n"
    "«rapide» saute par-dessus le chien\nparesseux. La volpe marrone rapida\nsalta sopra il cane pigro. El zorro\n"
    "marron rapido salta sobre el perro\nperezoso. A raposa marrom rapida\nsalta sobre o céo preguicoso."
)
"""As tesseract reads it, without Latin letters of other languages."""
SIZES = "sequence_length: 1024, max_patches: 2048, global_batch_size: 16, workers: 1"
LABELS = {
    "alto": EUROTEXT,
    "csv": CUSTOMER,
    "gt-txt": "ocr code and see if it works on all types",
    "hocr": "Page2",
    "html": HTML,
    "json-array": f"\nRead this page.{PHOTOTEST}",
    "map": NUMBER,
    "markdown": f"# {SENDER}\n\n{CUSTOMER}\n\n{NUMBER}\n\n{TABLE}\n\n**TOTAL DUE** $1,262.35".replace(
        "c.\n", "c.\n\n", 1
    ),
    "mets": PHOTOTEST,
    "page-xml": PHOTOTEST,
    "pages": SENDER,
    "parquet": PHOTOTEST,
    "pdf-rows": "\n".join(f"{number} {number + 99} {number + 199}" for number in range(1, 45)),
    "pdfa": "Page3",
    "plugin": PHOTOTEST.replace("\n\n", "\n"),
    "rows": "\nWho sends it?ACME Inc.",
    "saved": "Who gets it?Megan J. Stark",
    "scans": CUSTOMER,
    "tar-parts": SENDER,
    "webdataset": PHOTOTEST,
}
"""The label of one page of each folder, whole."""
SMALL_COPIES = "OCR-D-IMG-BIN"
"""Images of a METS document that are not read, since another group has the same pages in full size."""
NEED_OPTIONS = {"map", "pdf-rows", "plugin", "scans", "tar-parts"}
"""Folders whose pages are refused without the option that their command has."""


def commands() -> dict[str, str]:
    """The command of each folder in the table of examples/README.md."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| `(wdstream [^`]+)`[^|]* \| [^|]+ \|$", text, re.MULTILINE))


def folders() -> list[str]:
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__")


def test_every_folder_has_its_row_its_licence_and_its_label() -> None:
    assert folders() == sorted(commands()) == sorted(LABELS)
    sources = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    for name, command in commands().items():
        own = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
        assert re.search(r"\b(Apache-2\.0|MIT|MIT-CMU|BSD-2-Clause)\b", own), name
        assert f"examples/{name}" in sources, name
        assert name in ("rows", "plugin") or command in own, name
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) < MOST_BYTES


def train_two_steps(folder: Path, model: Path, shards: Sequence[Path]) -> set[str]:
    """Two steps on all shards; the keys of the pages that were trained on."""
    train = [{"path": str(path), "name": path.name} for path in shards]
    (folder / "cfg.yaml").write_text(
        f"model: {{path: {model}, dtype: float32}}\n"
        f"data: {{train: {json.dumps(train)}, {SIZES}}}\n"
        "tiling: {kind: grid, grid: [1, 1], tile_size: 56, overview_size: 56}\n"
        f"train: {{max_steps: 2, micro_batch_size: 1, output: {folder / 'run'}}}\n"
    )
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(1)
    assert main([str(folder / "cfg.yaml")]) == 0
    losses = [json.loads(line)["loss"] for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    return {row.key for step in range(2) for row in trace(folder / "run", step=step).pages}


def test_all_folders_at_once(tmp_path: Path, tiny_model: Path) -> None:
    options = MakeShardsOptions(workers=1, tokenizer=tiny_model, text_from=("alto/",))
    report = make_shards(EXAMPLES, tmp_path / "shards", options=options)
    assert {entry.file.partition("/")[0] for entry in report.quarantined} == NEED_OPTIONS
    shards = Shards.open(tmp_path / "shards")
    pages = [shards.read_page(row) for row in range(len(shards))]
    found: dict[str, list[Page]] = {}
    for page in pages:
        found.setdefault(str(page.meta["source"]).partition("/")[0], []).append(page)
    assert found.keys() == LABELS.keys() - NEED_OPTIONS
    for name, of_folder in found.items():
        assert LABELS[name] in map(text_of, of_folder), name
        images = [path for path in (EXAMPLES / name).rglob("*.png") if path.parent.name != SMALL_COPIES]
        files = {path.read_bytes() for path in images}
        assert files <= {image for page in of_folder for image in page.images}, name
    assert train_two_steps(tmp_path, tiny_model, [tmp_path / "shards"]) == {page.key for page in pages}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of examples/ in a folder where commands run."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "examples/plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(tmp_path / "examples/plugin"))))
    return tmp_path


def run_printed(command: str, *more: str | Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "wdstream"
    done = run(*arguments, *more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.mark.slow
def test_the_commands_as_printed(place: Path, tiny_model: Path) -> None:
    made = []
    for name, command in commands().items():
        run_printed(command, "--tokenizer", tiny_model, "--workers", "1", "--strict")
        made.append((place / "shards").rename(place / f"shards-{name}"))
        shards = Shards.open(made[-1])
        assert LABELS[name] in [text_of(shards.read_page(row)) for row in range(len(shards))], name
    assert len(train_two_steps(place, tiny_model, made)) > len(made)


@pytest.mark.slow
def test_the_commands_of_the_docs_as_printed(place: Path) -> None:
    """Of docs/sources.md: those on examples/, and those on shards and a new folder."""
    printed = re.findall(r"`(wdstream [^`]+)`", (ROOT / "docs/sources.md").read_text(encoding="utf-8"))
    incoming = sorted({command for command in printed if "examples/" in command} - set(commands().values()))
    outgoing = [command for command in printed if re.search(r"(reshard|export \w+) shards\b", command)]
    assert len(incoming) > 10
    assert len(outgoing) >= 4
    for command in incoming:
        shutil.rmtree(place / "shards", ignore_errors=True)
        run_printed(command)
    for command in outgoing:
        shutil.rmtree(place / "FOLDER", ignore_errors=True)
        run_printed(command)
