"""CER and WER in a run: a model that learns its pages by heart writes them, and the training does not notice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.paths import PAGES
from tests.helpers.processes import run_world
from tests.helpers.training import Workplace
from wdstream.config.build import plan_from_config
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.records import Failure, PackPlan
from wdstream.storage.json_lines import read_lines
from wdstream.train.evaluate.error_rate import count_errors
from wdstream.train.evaluate.generated_pages import PageText, WrittenSet, check_generation, first_pages, single_pages
from wdstream.train.evaluate.sets import eval_config, plan_sets

SCANS = PAGES / "images"
TEXTS = {
    "tesseract-phototest.tif": "This is a lot of 12 point text.",
    "ocrmypdf-typewriter.png": "Typed [bold] on a machine,\ntwo lines.",
    "leptonlib-german.png": "Über Straßen und Plätze.",
}
STEPS = [23, 47, 71, 89]


def make_few(workplace: Workplace) -> Path:
    """Shards of three real pages, small, each with a short text of its own."""
    raw, shards = workplace.root / "raw-few", workplace.root / "shards-few"
    raw.mkdir()
    for name, text in TEXTS.items():
        with Image.open(SCANS / name) as scan:
            page = scan.convert("RGB")
        page.thumbnail((200, 200))
        page.save(raw / f"{Path(name).stem}.png")
        (raw / f"{Path(name).stem}.txt").write_text(text, encoding="utf-8")
    make_shards(raw, shards, options=MakeShardsOptions(tokenizer=workplace.root / "model", workers=1))
    return shards


@pytest.fixture(scope="module")
def heart(workplace: Workplace) -> Path:
    """The output of a run that learns three pages by heart, and is evaluated on these pages."""
    shards, output = make_few(workplace), workplace.root / "heart"
    settings = (
        f"data.train=[{{path: {shards}}}]",
        f"data.eval=[{{name: by/heart, path: {shards}}}]",
        "data.global_batch_size=1",
        "tiling={kind: grid, grid: [1, 2], tile_size: 84, overview_size: 56}",
        *("train.max_steps=90", "train.lr=0.005", "train.warmup_steps=5", "train.log_every=20"),
        *("train.eval_every=24", "train.checkpoint_every=90"),
        "train.generate={max_new_tokens: 40}",
    )
    assert workplace.train(output, *settings, "train.stop_after=24") == 0
    stale = output / "generated" / "by%2Fheart" / "step-00000025.jsonl"
    stale.parent.mkdir(parents=True)  # the evaluation that the stop left out comes next
    stale.write_text("of a step that was not kept")
    assert workplace.train(output, *settings) == 0
    return output


def test_a_model_that_knows_its_pages_writes_them(heart: Path) -> None:
    lines = list(read_lines(heart / "eval.jsonl"))
    assert [(line["step"], line["name"]) for line in lines] == [(step, "by/heart") for step in STEPS]
    assert lines[0]["cer"] > 0.1
    assert lines[-1]["cer"] < 0.05
    assert lines[-1]["wer"] < 0.1
    counts = {key: lines[-1][key] for key in ("pages", "failed", "generated", "not_generated", "cut")}
    assert counts == {"pages": 3, "failed": 0, "generated": 3, "not_generated": 0, "cut": 0}


def test_what_it_wrote_is_kept_page_by_page(heart: Path) -> None:
    folder = heart / "generated" / "by%2Fheart"
    names = [f"step-{step:08}.jsonl" for step in STEPS]
    assert sorted(path.name for path in folder.iterdir()) == names
    first, last = (list(read_lines(folder / names[place])) for place in (0, -1))
    assert [page["key"] for page in first] == [page["key"] for page in last]
    assert {page["key"]: page["reference"] for page in last} == {Path(name).stem: text for name, text in TEXTS.items()}
    rates = list(read_lines(heart / "eval.jsonl"))
    for pages, found in ((first, rates[0]), (last, rates[-1])):
        counts = [count_errors(page["reference"], page["prediction"]) for page in pages]
        assert [page["cer"] for page in pages] == [count.cer for count in counts]
        assert found["cer"] == sum(count.char_errors for count in counts) / sum(count.num_chars for count in counts)
        assert found["wer"] == sum(count.word_errors for count in counts) / sum(count.num_words for count in counts)


def test_rates_are_in_tensorboard(heart: Path) -> None:
    board = EventAccumulator(str(heart / "tensorboard")).Reload()
    lines = list(read_lines(heart / "eval.jsonl"))
    for rate in ("loss", "cer", "wer"):
        scalars = board.Scalars(f"eval/by/heart/{rate}")
        assert [event.step for event in scalars] == STEPS
        assert [event.value for event in scalars] == pytest.approx([line[rate] for line in lines])


LORA = ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.gradient_checkpointing=true", "train.lr=0.01")
FULL = ("train.lr=0.003",)


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_generation_changes_nothing_of_the_training(
    workplace: Workplace, settings: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither losses nor weights, optimizer or random numbers: against a run that evaluates nothing."""
    name = f"undisturbed-{len(settings)}"
    plain, written = workplace.root / name, workplace.root / f"{name}-written"
    common = (*settings, "train.max_steps=3", "train.checkpoint_every=3")
    assert workplace.train(plain, *common, "data.eval=[]") == 0
    generate = "train.generate={max_pages: 2, max_new_tokens: 4}"
    assert workplace.train(written, *common, "train.eval_every=1", generate) == 0
    assert "use_cache" not in capfd.readouterr().err  # transformers says so when checkpointing switches a cache off
    assert len(list((written / "generated" / "held_out").iterdir())) == 3
    figures = [
        [(line["loss"], line["grad_norm"]) for line in read_lines(output / "metrics.jsonl")]
        for output in (plain, written)
    ]
    assert len(figures[0]) == 3
    assert figures[0] == figures[1]
    before, after = (output / "checkpoints" / "step-00000003" for output in (plain, written))
    names = sorted(path.name for path in before.iterdir() if path.name != "manifest.json")
    assert "random_states_0.pkl" in names
    for file in names:
        assert (before / file).read_bytes() == (after / file).read_bytes(), file


def test_the_first_pages_are_the_same_for_every_world(workplace: Workplace) -> None:
    config = workplace.config(workplace.root / "none")
    found = []
    for world_size in (1, 2, 5):
        plan = plan_from_config(eval_config(config, config.data.eval[0], world_size=world_size), split="held_out")
        found.append([page.samples for page in first_pages(plan, 4)])
        assert len(first_pages(plan, 100)) == 5
    assert found[0] == found[1] == found[2]
    assert len({samples for samples in found[0]}) == 4


def test_sets_of_a_streamed_run_are_planned(workplace: Workplace) -> None:
    config = workplace.config(workplace.root / "none", "data.streaming={}")
    ((name, plan),) = plan_sets(config, world_size=2)
    assert name == "held_out"
    assert len(first_pages(plan, 100)) == 5


def test_a_pack_is_cut_into_its_pages() -> None:
    pack = PackPlan(number=3, samples=(7, 2), tokens=(10, 20), patches=(4, 8), supervised=(5, 6), scales=(64, 32))
    assert list(single_pages(pack)) == [
        replace(pack, samples=(7,), tokens=(10,), patches=(4,), supervised=(5,), scales=(64,)),
        replace(pack, samples=(2,), tokens=(20,), patches=(8,), supervised=(6,), scales=(32,)),
    ]
    assert [page.scales for page in single_pages(replace(pack, scales=()))] == [(), ()]


def test_lines_for_a_person_name_failures_and_act_on_no_terminal() -> None:
    counts = count_errors("abc", "abd")
    page = PageText(key="p", reference="a\nb\x1b[31m" + "c" * 300, prediction="abd", counts=counts, is_cut=True)
    written = WrittenSet(pages=(page,) * 5, failures=(Failure(key="bad", sample=1, reason="torn"),))
    lines = list(written.lines())
    assert lines[0] == "  page 'bad' was not written: torn"
    assert lines[1] == "  page 'p': CER 0.333, cut off"
    assert lines[2].startswith("    reference  a b␛[31mccc")
    assert lines[2].endswith("ccc…")
    assert len(lines) == 1 + 2 * 3
    assert written.figures() == {"cer": 1 / 3, "wer": 1.0, "generated": 5, "cut": 5, "not_generated": 1}
    nothing = WrittenSet(pages=(), failures=written.failures)
    assert nothing.figures() == {"generated": 0, "cut": 0, "not_generated": 1}


def test_refused_before_anything_is_loaded(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    generate = "train.generate={max_pages: 3}"
    config = workplace.config(workplace.root / "none", generate)
    check_generation(config, is_sharded=False)
    with pytest.raises(
        ConfigError, match="under FSDP and ZeRO-3 every token written would gather the whole model again"
    ):
        check_generation(config, is_sharded=True)
    assert workplace.train(workplace.root / "refused", generate, "data.eval=[]", "model.path=missing") == 2
    assert "train.generate: has no effect: data.eval names no set" in capfd.readouterr().err


@pytest.mark.slow
def test_two_ranks_write_in_a_run(workplace: Workplace) -> None:
    output = workplace.root / "two-ranks"
    settings = (f"train.output={output}", "train.max_steps=1", "train.generate={max_new_tokens: 5}")
    words = [word for setting in settings for word in ("--set", setting)]
    run_world("wdstream.train", [str(workplace.config_file), *words], size=2)
    (line,) = read_lines(output / "eval.jsonl")
    assert (line["generated"], line["not_generated"]) == (5, 0)
    pages = [json.loads(text) for text in (output / "generated/held_out/step-00000000.jsonl").read_text().splitlines()]
    assert len({page["key"] for page in pages}) == 5
