"""tools/label_truth.py on pages made here and read by the real engine: sound, with a hidden line, shuffled, lacking."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

import label_truth
from tests.tools.truth.engine import needs_tesseract
from truth import ocr
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.reader import Shards

LINES = """A stream of training batches is planned before the first step
Every document page becomes one picture and one label below it
Nobody should teach a model words which are not printed here
Numbers such as 4711 or 2048 belong to the text as well""".splitlines()
HIDDEN = "confidential salary paragraph removed yesterday"


def draw(path: Path, lines: list[str]) -> None:
    image = Image.new("RGB", (1400, 160 + 80 * len(lines)), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((80, 80 + 80 * number), line, font=ImageFont.load_default(40), fill="black")
    image.save(path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a text file each, a page without letters, and a row."""
    folder = tmp_path_factory.mktemp("raw")
    words = " ".join(LINES).split()
    labels = {
        "sound": "\n".join(LINES),
        "hidden": "\n".join([*LINES, HIDDEN]),
        "shuffled": " ".join(random.Random(3).sample(words, len(words))),
        "lacking": "\n".join(LINES[:2]),
        "sign": "1 2 3",
    }
    for name, label in labels.items():
        draw(folder / f"{name}.png", LINES)
        (folder / f"{name}.txt").write_text(label, encoding="utf-8")
    (folder / "rows").mkdir()
    draw(folder / "rows" / "photo.png", LINES[:1])
    row = {"text": "<image>a caption of the photo", "images": ["photo.png"]}
    (folder / "rows" / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder


@needs_tesseract
def test_a_raw_folder_is_judged(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """43 words of two letters are printed on each page; the hidden line has 5 more."""
    out, html = tmp_path / "truth.json", tmp_path / "worst.html"
    arguments = [str(raw), "--json", str(out), "--html", str(html), "--wanted", "Latin=0.98", "--wanted", "Greek=0.9"]
    assert label_truth.main(arguments) == 1
    found = json.loads(out.read_text(encoding="utf-8"))
    pages: dict[str, dict[str, Any]] = {page["key"]: page for page in found["pages"]}
    assert {key: (page["words"], page["precision"]) for key, page in pages.items()} == {
        "hidden": (48, 0.8958),
        "lacking": (21, 1.0),
        "shuffled": (43, 1.0),
        "sound": (43, 1.0),
    }
    assert pages["hidden"]["unseen"] == HIDDEN.split()
    assert {key: page["recall"] for key, page in pages.items()} == {
        "hidden": 1.0,
        "lacking": 0.4884,
        "shuffled": 1.0,
        "sound": 1.0,
    }
    assert pages["sound"]["order"] == pages["hidden"]["order"] == 1.0
    assert pages["shuffled"]["order"] < 0.5
    assert found["by_script"]["Latin"]["precision"] == pytest.approx(150 / 155)
    assert found["not_judged"] == {
        "a row of a JSONL file: its text may be a caption": 1,
        "label without words of two letters": 1,
    }
    printed = capsys.readouterr().out
    assert "hidden: Latin, precision 0.896 of 48" in printed
    assert "not in the picture: confidential salary paragraph removed yesterday" in printed
    assert "MISSED Latin: precision 0.9677, wanted 0.98" in printed
    assert "MISSED Greek: no page judged" in printed
    assert html.read_text(encoding="utf-8").count("<section>") == 1


@needs_tesseract
def test_shards_are_judged_and_a_sample_is_the_same_again(raw: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    make_shards(raw, shards, options=MakeShardsOptions(workers=1))
    out = tmp_path / "truth.json"
    chosen = []
    for seed in ("0", "0", "1"):
        assert label_truth.main([str(shards), "--sample", "3", "--seed", seed, "--captions", "--json", str(out)]) == 0
        chosen.append([page["key"] for page in json.loads(out.read_text(encoding="utf-8"))["pages"]])
    assert chosen[0] == chosen[1] != chosen[2]
    opened = Shards.open(shards)
    assert len(label_truth.sample(opened, None, 0)) == len(label_truth.sample(opened, 99, 0)) == len(opened) == 6


@needs_tesseract
def test_a_list_names_the_pages(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages, out = tmp_path / "pages.txt", tmp_path / "truth.json"
    pages.write_text("# a remark\nsound\n\nl*ing\n", encoding="utf-8")
    assert label_truth.main([str(raw), "--pages", str(pages), "--json", str(out), "--workers", "1"]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [page["key"] for page in found["pages"]] == ["lacking", "sound"] and found["is_whole"]
    capsys.readouterr()
    pages.write_text("sound\nmissing/*\nlost\n", encoding="utf-8")
    assert label_truth.main([str(raw), "--pages", str(pages)]) == 2
    assert capsys.readouterr().err.endswith("patterns of keys expected; without a page: missing/*, lost\n")


@needs_tesseract
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_judge_says_what_it_has(tmp_path: Path, sent: signal.Signals) -> None:
    raw, cache, out = tmp_path / "raw", tmp_path / "cache", tmp_path / "truth.json"
    raw.mkdir()
    for number in range(12):
        draw(raw / f"{number}.png", [f"{line} {number}" for line in LINES])
        (raw / f"{number}.txt").write_text("\n".join(LINES), encoding="utf-8")
    command = [sys.executable, label_truth.__file__, str(raw), "--workers", "1", "--cache", str(cache)]
    judge = subprocess.Popen([*command, "--json", str(out)], stdout=subprocess.PIPE, text=True)
    while len([*cache.glob("*.tsv")]) < 2 and judge.poll() is None:
        time.sleep(0.02)
    judge.send_signal(sent)
    said = judge.communicate()[0]
    assert judge.returncode == 130, said
    found = json.loads(out.read_text(encoding="utf-8"))
    assert 1 <= len(found["pages"]) < 12 and not found["is_whole"]
    assert f"stopped: {len(found['pages'])} of 12 pages were looked at" in said
    assert found["by_script"]["Latin"]["precision"] == 1.0


def test_no_engine_is_one_line(raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(raw))
    ocr.installed.cache_clear()
    assert label_truth.main([str(raw)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("label_truth: tesseract cannot be run ") and "apt-get install tesseract-ocr" in said


@needs_tesseract
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such"], "label_truth: /no/such: no such folder; give indexed shards or raw pages"),
        (["RAW", "--wanted", "Latin"], "label_truth: --wanted Latin: SCRIPT=SHARE expected, such as Latin=0.98"),
    ],
)
def test_mistakes(raw: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert label_truth.main([str(raw) if argument == "RAW" else argument for argument in arguments]) == 2
    assert capsys.readouterr().err == message + "\n"
