"""`wdstream chat`: what the model writes of a page is what the evaluation of its run wrote of it.

Spans: train, commands.
"""

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.helpers.command import run as wdstream
from tests.helpers.paths import ROOT
from tests.helpers.training import Workplace
from wdstream.shards.reader import Shards
from wdstream.storage.json_lines import read_lines
from wdstream.text.characters import printable
from wdstream.train.evaluate.chat import load_chat, with_question
from wdstream.train.evaluate.generate import text_of_ids
from wdstream.train.saving.export_run import export_run

SETTINGS = (
    *("train.max_steps=2", "train.eval_every=1", "train.checkpoint_every=1", "train.lr=0.05"),
    *("train.adapter={kind: lora, r: 4}", "train.generate={max_pages: 2, max_new_tokens: 6}"),
)


@pytest.fixture(scope="module")
def trained(workplace: Workplace) -> Path:
    run = workplace.root / "to-chat"
    assert workplace.train(run, *SETTINGS) == 0
    return run


def written(run: Path, step: int) -> dict[str, str]:
    """Page -> what the run's own evaluation wrote of it."""
    lines = read_lines(run / "generated" / "held_out" / f"step-{step:08}.jsonl")
    return {str(line["key"]): printable(str(line["prediction"])) for line in lines}


def shown(*arguments: str | Path) -> str:
    AcceleratorState._reset_state(reset_partial_state=True)
    done = wdstream("chat", *arguments, "--max-new-tokens", "6")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_writes_what_the_evaluation_wrote(trained: Path, workplace: Workplace, tmp_path: Path) -> None:
    shards, last = workplace.root / "shards-eval", written(trained, 1)
    expected = "".join(f"{key}:\n{text}\n" for key, text in last.items())
    assert shown(trained, *last, "--shards", shards) == expected
    assert len(last) == 2
    first = written(trained, 0)
    key = next(iter(first))
    assert shown(trained, key, "--shards", shards, "--step", "1") == f"{first[key]}\n"
    opened = Shards.open(shards)
    row = opened.find(key)
    assert row is not None
    image = tmp_path / "page.jpg"
    image.write_bytes(opened.read_page(row).images[0])
    export_run(trained, tmp_path / "merged", merge=True)
    for model in (trained / "final", tmp_path / "merged"):
        assert shown(model, image) == f"{last[key]}\n"
    assert shown(workplace.root / "model", image, "--set", "tiling.kind=none") != f"{last[key]}\n"


def test_a_question_is_asked_in_the_chat_template(trained: Path, workplace: Workplace) -> None:
    opened = Shards.open(workplace.root / "shards-eval")
    AcceleratorState._reset_state(reset_partial_state=True)
    model = load_chat(trained)
    page = opened.read_page(0)
    plain, asked = model.prompt(page), model.prompt(with_question(page, "What does it say?"))
    family = model.engine.family
    ends = [
        family.tokenizer_text(prompt) if False else text_of_ids(prompt.pack.input_ids, family)
        for prompt in (plain, asked)
    ]
    assert "What does it say?" in ends[1]
    assert ends[1].rstrip().endswith("assistant")
    images = [int((prompt.pack.input_ids == family.image_id).sum()) for prompt in (plain, asked)]
    assert images[0] == images[1] > 0
    assert model.reply(with_question(page, "What?"), max_new_tokens=2).is_cut


def test_a_page_of_a_pdf_is_drawn(trained: Path, workplace: Workplace) -> None:
    pdf = next((ROOT / "tests" / "data" / "pages").rglob("*.pdf"))
    assert shown(trained, f"{pdf}#1").strip()
    done = wdstream("chat", trained, f"{pdf}#999")
    assert (done.returncode, "the PDF has the pages 1 to" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("RUN", "no-such-page", "--shards", "SHARDS"), "no-such-page: no page of"),
        (("RUN", "no-such-file.png"), "no-such-file.png: file cannot be read"),
        (("RUN/final", "page-00000", "--shards", "SHARDS", "--step", "1"), "is not the folder of a run"),
        (("RUN", "page-00000", "--shards", "SHARDS", "--step", "9"), "there is no such checkpoint"),
        (("SHARDS", "page-00000", "--shards", "SHARDS"), "holds no run, model or adapter"),
    ],
)
def test_refusals(arguments: tuple[str, ...], message: str, trained: Path, workplace: Workplace) -> None:
    paths = {"RUN": str(trained), "SHARDS": str(workplace.root / "shards-eval")}
    words = [word.replace("RUN", paths["RUN"]).replace("SHARDS", paths["SHARDS"]) for word in arguments]
    AcceleratorState._reset_state(reset_partial_state=True)
    done = wdstream("chat", *words)
    assert done.returncode in (1, 2)
    assert message in done.stderr
