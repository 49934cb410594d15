"""`wdstream demo --learn`: a model of random weights learns to read lines that it never saw, next to a control.

drawn lines ─► shards ─► run "run":      each line with its own text     held-out CER falls to almost 0
                    └──► run "control":  the same texts, shuffled        it stays where it was: nothing to read
                              both: configs/demo-learn.yaml, the same held-out lines, report.html
"""

import random
import string
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from wdstream.commands.demo import MARKER, empty, require_configuration
from wdstream.config.schema import load_config
from wdstream.errors import TrainError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.report.console import PrintableConsole
from wdstream.report.learning import Curve, LearningView, WrittenLine, write_learning
from wdstream.report.progress import ProgressBar
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines
from wdstream.testing.launcher import TrainingProcess
from wdstream.testing.tiny.build import make_tiny_model
from wdstream.testing.tiny.reader import READER

NUM_LINES, NUM_HELD_OUT = 2000, 48
READER_VOCAB_SIZE = 256 + len(READER.added_tokens)
"""The bytes and the family's own tokens: every letter is a token."""
LETTERS = string.ascii_lowercase
LINE_WORDS, SHORTEST, LONGEST = 2, 2, 3
"""Words of a line, and the fewest and most random letters of a word: its text cannot be guessed, only read."""
PITCH = 28
"""Pixels from one letter to the next, and of the height of a line: what one token of an image covers."""
FONT_SIZE = 22
LEARNED, NOT_LEARNED = 0.1, 0.5
"""Held-out CER: below the first the model reads, above the second it does not."""
SHOWN_LINES = 8
HANGS_AFTER_SECONDS = 2400.0
"""Of both runs, which take two minutes on an idle machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningReport:
    """What `demo --learn` showed.

    Attributes:
        cer, control: (steps done, CER on held-out lines) at each evaluation, of the run and of its control.
        final: CER of all held-out lines by `wdstream evaluate`, of both.
        seconds: of the whole demo.
        page: where the report is.
    """

    cer: tuple[tuple[int, float], ...]
    control: tuple[tuple[int, float], ...]
    final: tuple[float, float]
    seconds: float
    page: Path

    @property
    def is_learned(self) -> bool:
        """Whether the run reads and its control does not."""
        return self.final[0] < LEARNED and self.final[1] > NOT_LEARNED


def run_learning(
    work: Path,
    *,
    config_path: Path = Path("configs/demo-learn.yaml"),
    steps: int | None = None,
    console: Console | None = None,
) -> LearningReport:
    """Run the demo and print what it showed.

    Args:
        work: the demo's folder; `learn` inside is emptied first.
        config_path: of both runs; its paths are moved into `work`.
        steps: of both runs; None: as configured.
        console: where to print.

    Raises:
        ConfigError: `work` holds files that are not of a demo, or there is no configuration.
        TrainError: a run failed, the model did not learn, or the control did.
    """
    began = time.perf_counter()
    console = console or PrintableConsole()
    require_configuration(config_path)
    folder = prepare_folder(work)
    prepare_lines(folder, console)
    train_both(folder, config_path, steps, console)
    final = [evaluate_all(folder / name) for name in ("run", "control")]
    report = LearningReport(
        cer=error_rates(folder / "run"),
        control=error_rates(folder / "control"),
        final=(final[0], final[1]),
        seconds=time.perf_counter() - began,
        page=folder / "report.html",
    )
    write_learning(view_of(report, folder), report.page)
    print_learning(report, console)
    if not report.is_learned:
        raise TrainError(
            f"the run ends with a CER of {report.final[0]:.2f} (expected below {LEARNED}), its control with "
            f"{report.final[1]:.2f} (expected above {NOT_LEARNED}); see {report.page}"
        )
    return report


def prepare_folder(work: Path) -> Path:
    """`work/learn`, empty; what the plain demo left next to it stays."""
    if not (work / MARKER).exists():
        empty(work)
    empty(work / "learn")
    return work / "learn"


def prepare_lines(folder: Path, console: Console) -> None:
    """The model, and shards of lines with their texts, of the same lines with shuffled texts, and of held-out lines."""
    model = make_tiny_model(folder / "model", family=READER, vocab_size=READER_VOCAB_SIZE)
    console.print(f"tiny Qwen2.5-VL with random weights: {model}")
    texts, held_out = make_texts(NUM_LINES, NUM_HELD_OUT)
    shuffled = random.Random(1).sample(texts, len(texts))
    kinds = (("lines", texts, texts), ("shuffled", texts, shuffled), ("held_out", held_out, held_out))
    options = MakeShardsOptions(tokenizer=model, workers=1, pages_per_shard=NUM_LINES)
    for name, drawn, labels in kinds:
        draw_lines(folder / "raw" / name, drawn, labels)
        report = make_shards(folder / "raw" / name, folder / "shards" / name, options=options)
        report.check()


def make_texts(count: int, num_held_out: int) -> tuple[list[str], list[str]]:
    """Texts of different lines of random letters, always the same ones: to train on, and held out."""
    draw, texts = random.Random(0), dict[str, None]()
    while len(texts) < count + num_held_out:
        words = ["".join(draw.choices(LETTERS, k=draw.randint(SHORTEST, LONGEST))) for _ in range(LINE_WORDS)]
        texts[" ".join(words)] = None
    return list(texts)[:count], list(texts)[count:]


def draw_lines(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> None:
    """An image of each text, its letters a pixel or two out of place, with a label in `.txt`."""
    from PIL import Image, ImageDraw, ImageFont

    folder.mkdir(parents=True)
    font, shift = ImageFont.load_default(size=FONT_SIZE), random.Random(len(texts))
    width = PITCH * (LINE_WORDS * LONGEST + LINE_WORDS - 1)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        image = Image.new("RGB", (width, PITCH), "white")
        draw = ImageDraw.Draw(image)
        for place, letter in enumerate(text):
            middle = PITCH * (place + 0.5) + shift.randint(-2, 2), PITCH * 0.5 + shift.randint(-2, 2)
            draw.text(middle, letter, font=font, fill="black", anchor="mm")
        image.save(folder / f"line-{number:05}.png")
        (folder / f"line-{number:05}.txt").write_text(label, encoding="utf-8")


def train_both(folder: Path, config_path: Path, steps: int | None, console: Console) -> None:
    """The run and its control at the same time, each in one process: `accelerate launch -m wdstream.train`."""
    console.rule("training on the lines, and on the same lines with shuffled texts")
    count = load_config(config_path).train.max_steps if steps is None else steps
    with ProgressBar(console, is_transient=False) as bar, ExitStack() as stack:

        def show(step: int, loss: float) -> None:
            bar.figures = f"loss {loss:.3f}"
            bar.show("run", step, count, unit="steps")

        started = [
            stack.enter_context(
                TrainingProcess(
                    config_path,
                    make_learning_overrides(folder, name, lines, count),
                    output=folder / name,
                    log=folder / f"{name}.log",
                    num_processes=1,
                    on_step=show,
                    timeout=HANGS_AFTER_SECONDS,
                )
            )
            for name, lines in (("control", "shuffled"), ("run", "lines"))
        ]
        for process in reversed(started):
            process.wait()


def make_learning_overrides(folder: Path, name: str, lines: str, steps: int | None) -> tuple[str, ...]:
    """The settings that move the configuration into `folder`: a run by name, on lines by the name of their shards."""
    return (
        f"model.path={folder / 'model'}",
        f"data.train=[{{path: {folder / 'shards' / lines}}}]",
        f"data.eval=[{{name: held_out, path: {folder / 'shards' / 'held_out'}, split: all}}]",
        f"train.output={folder / name}",
        f"train.max_steps={steps}",
    )


def evaluate_all(run: Path) -> float:
    """CER of all held-out lines: `wdstream evaluate RUN --generate`."""
    from wdstream.train.evaluate.standalone import evaluate_finished

    reports = evaluate_finished(run, generate=NUM_HELD_OUT, out=run / "held_out")
    (report,) = (reports or {}).values()
    return report.figures()["cer"]


def error_rates(run: Path) -> tuple[tuple[int, float], ...]:
    """(steps done, CER) at each evaluation of a run."""
    return tuple((line["step"] + 1, line["cer"]) for line in read_lines(RunLayout(run).evaluations))


def view_of(report: LearningReport, folder: Path) -> LearningView:
    """The page's contents: the curves, and some lines with what both runs wrote of them."""
    import numpy as np
    from PIL import Image

    written = {name: written_texts(folder / name) for name in ("run", "control")}
    steps = tuple(sorted(written["run"]))
    raw, keys = folder / "raw" / "held_out", sorted(written["run"][steps[-1]])[:SHOWN_LINES]
    lines = [
        WrittenLine(
            pixels=np.asarray(Image.open(raw / f"{key}.png")),
            text=(raw / f"{key}.txt").read_text(encoding="utf-8"),
            written=tuple(written["run"][step].get(key, "") for step in steps),
            control=written["control"][steps[-1]].get(key, ""),
        )
        for key in keys
    ]
    return LearningView(
        run=Curve(name="each line with its text", points=report.cer),
        control=Curve(name="control, the same texts shuffled", points=report.control),
        final=report.final,
        steps=steps,
        lines=tuple(lines),
        facts=(
            f"A Qwen2.5-VL of random weights, {NUM_LINES:,} drawn lines of random letters, {steps[-1]} steps.",
            f"It is asked for {NUM_HELD_OUT} other lines.",
            "The control sees the same images and the same texts, in another order, so there is nothing to read.",
        ),
    )


def written_texts(run: Path) -> dict[int, dict[str, str]]:
    """What the model wrote at each evaluation, by steps done and key."""
    files = sorted((RunLayout(run).generated / "held_out").glob("step-*.jsonl"))
    lines = {1 + int(file.stem.removeprefix("step-")): list(read_lines(file)) for file in files}
    return {
        step: {line["key"]: line["prediction"] for line in found if "prediction" in line}
        for step, found in lines.items()
    }


def print_learning(report: LearningReport, console: Console) -> None:
    """The error rates, and where the page is."""
    table = Table(title="characters wrong in held-out lines", show_header=True)
    for title in ("after", "run", "control, texts shuffled"):
        table.add_column(title)
    for (step, cer), (_, control) in zip(report.cer, report.control, strict=True):
        table.add_row(f"{step} steps", f"{cer:.1%}", f"{control:.1%}")
    table.add_row(f"all {NUM_HELD_OUT} lines", f"{report.final[0]:.1%}", f"{report.final[1]:.1%}")
    console.print(table)
    console.print(f"{report.seconds:.0f} s; the report: {report.page}", highlight=False, soft_wrap=True)
