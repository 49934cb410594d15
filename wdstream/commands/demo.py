"""`wdstream demo`: real pages become shards, a plan, packs and a training run that survives `kill -9`, with the proof.

raw pages ─► shards ─► plan ─► run "straight": steps 0 to 29 without interruption
                          └──► run "killed":   steps 0 to 11, SIGKILL, resumed to 29
                                    both: the same bytes in every step, the same losses, the same weights, bit for bit
"""

import hashlib
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config, load_config
from wdstream.errors import ConfigError, TrainError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.report.console import PrintableConsole
from wdstream.report.progress import ProgressBar
from wdstream.runs.digest import digest
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_tiny_model
from wdstream.testing.launcher import TrainingProcess

HELD_OUT = "5"
"""Pages kept for evaluation, with all pages of their files; the rest is trained on."""

DPI = 150
VOCAB_SIZE = 4096
SHOWN_FIGURES = ("fill_tokens_pct", "fill_patches_pct", "pages_per_s", "tokens_per_s")
MARKER = "made-by-wdstream-demo.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo showed.

    Attributes:
        killed_at: steps that were finished when the run was killed.
        resumed_from: step of the checkpoint it resumed from.
        losses: of the first and the last step of the resumed run.
        eval_loss: on the held-out pages, after the last step.
        is_same: what the resumed and the uninterrupted run must agree on, bit for bit, and whether they do.
        seconds: of the whole demo.
    """

    killed_at: int
    resumed_from: int
    losses: tuple[float, float]
    eval_loss: float
    is_same: Mapping[str, bool]
    seconds: float

    @property
    def is_proven(self) -> bool:
        """Whether the interrupted run is the uninterrupted one."""
        return all(self.is_same.values())


def require_configuration(path: Path) -> None:
    """Check that a demo begins where its configuration is, before anything is made or removed.

    Raises:
        ConfigError: it does not; says where it does.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: there is no such file in {Path.cwd()}; the demo begins in a clone of the repository, which has it"
        )


def run_demo(
    pages: Path,
    work: Path,
    *,
    steps: int = 30,
    kill_at: int = 12,
    config_path: Path = Path("configs/demo.yaml"),
    console: Console | None = None,
) -> DemoReport:
    """Run the demo and print what it showed.

    Args:
        pages: folder of raw pages.
        work: folder for everything it writes; an earlier demo's is emptied first.
        steps: of both runs.
        kill_at: steps after which one run is killed.
        config_path: the demo's configuration; its paths are moved into `work`.
        console: where to print.

    Raises:
        ConfigError: `work` holds files that are not of a demo, or there are no `pages`, or no configuration.
        TrainError: a run failed, or the two runs differ.
    """
    began = time.perf_counter()
    console = console or PrintableConsole()
    require_configuration(config_path)
    empty(work)
    config = prepare(pages, work, config_path, steps, console)
    start = partial(training, config_path, work=work, steps=steps, console=console)
    console.rule("training on two processes, and a kill")
    with start("run", log="killed") as trainer:
        killed_at = trainer.kill_after(kill_at)
    console.print(f"all processes ended by SIGKILL after {killed_at} steps; the same command again:")
    with start("run", log="resumed") as trainer:
        trainer.wait()
    console.rule("the same run without a kill, to compare")
    with start("straight", log="straight") as trainer:
        trainer.wait()
    report = compare(work, config, killed_at=killed_at, seconds=time.perf_counter() - began)
    print_report(report, work, console)
    if not report.is_proven:
        raise TrainError(f"the resumed run differs from the uninterrupted one; compare {work}/run and {work}/straight")
    return report


def empty(work: Path) -> None:
    """Make `work` an empty folder, if it is new or an earlier demo's.

    Raises:
        ConfigError: it holds other files.
    """
    if work.exists() and any(work.iterdir()) and not (work / MARKER).exists():
        raise ConfigError(f"{work}: holds files that are not of a demo; name another folder with --work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / MARKER).write_text("The demo empties this folder when it starts.\n", encoding="utf-8")


def prepare(pages: Path, work: Path, config_path: Path, steps: int, console: Console) -> Config:
    """Model, shards and plan, with the report of each; the configuration of the runs."""
    if not pages.is_dir():
        raise ConfigError(f"{pages}: no raw pages there; start the demo in the repository, or give --pages")
    model = make_tiny_model(work / "model", vocab_size=VOCAB_SIZE)
    console.print(f"tiny Qwen2.5-VL with random weights: {model}")
    report = make_shards(pages, work / "shards", options=MakeShardsOptions(tokenizer=model, dpi=DPI, holdout=HELD_OUT))
    report.print(console)
    report.check()
    config = load_config(config_path, make_overrides(work, steps))
    console.rule("the plan: every step is known before the first one")
    plan_from_config(config).summary(world_size=2).print(console)
    return config


def make_overrides(work: Path, steps: int) -> tuple[str, ...]:
    """The settings that move the demo's configuration into `work`."""
    return (
        f"model.path={work / 'model'}",
        f"data.train=[{{path: {work / 'shards'}}}]",
        f"data.eval=[{{name: held_out, path: {work / 'shards'}, split: held_out}}]",
        f"train.max_steps={steps}",
    )


@contextmanager
def training(
    config_path: Path, name: str, *, log: str, work: Path, steps: int, console: Console
) -> Iterator[TrainingProcess]:
    """A start of the run `name` under a progress bar fed by its metrics; what it prints goes to `<log>.log`."""

    def show_step(step: int, loss: float) -> None:
        bar.figures = f"loss {loss:.3f}"
        bar.show(log, step, steps, unit="steps")

    output = work / name
    overrides = (*make_overrides(work, steps), f"train.output={output}")
    with ProgressBar(console, is_transient=False) as bar:
        bar.show(log, 0, steps, unit="steps")
        with TrainingProcess(
            config_path, overrides, output=output, log=work / f"{log}.log", on_step=show_step
        ) as trainer:
            yield trainer


def compare(work: Path, config: Config, *, killed_at: int, seconds: float) -> DemoReport:
    """The resumed run and the uninterrupted one: bytes of every step, losses, final weights."""
    run, straight = work / "run", work / "straight"
    folders = {path: read_run(path) for path in (run, straight)}
    losses = {path: figures(path, "loss") for path in (run, straight)}
    trained = {path: [line["sha256"] for line in folder.steps] for path, folder in folders.items()}
    around = range(max(0, killed_at - 2), killed_at + 2)
    again = [sha256 for _, sha256 in digest(config, steps=around, workers=0)]
    weights = {path: file_sha256(RunLayout(path).final / "model.safetensors") for path in (run, straight)}
    return DemoReport(
        killed_at=killed_at,
        resumed_from=folders[run].starts[-1]["step"],
        losses=(losses[run][0], losses[run][-1]),
        eval_loss=[line["loss"] for line in read_lines(RunLayout(run).evaluations)][-1],
        is_same={
            "ids, labels, positions and pixels of every step": trained[run] == trained[straight],
            "the same computed again on one rank (wdstream digest)": again == trained[run][around.start : around.stop],
            "losses of every step": losses[run] == losses[straight],
            f"final weights, sha256 {weights[run][:16]}": weights[run] == weights[straight],
        },
        seconds=seconds,
    )


def figures(output: Path, name: str) -> list[float]:
    """One figure of every log line of a run."""
    return [line[name] for line in RunLayout(output).read_metrics()]


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def print_report(report: DemoReport, work: Path, console: Console) -> None:
    """What the demo showed, and where everything is."""
    run = work / "run"
    mean = {name: statistics.fmean(figures(run, name)) for name in SHOWN_FIGURES}
    summary = Table(title="the run", show_header=False)
    for what, figure in (
        ("killed, resumed", f"after {report.killed_at} steps, from the checkpoint of step {report.resumed_from}"),
        ("loss", f"{report.losses[0]:.3f} at the start, {report.losses[1]:.3f} at the end"),
        ("loss on held-out pages", f"{report.eval_loss:.3f}"),
        (
            "fill of packs",
            f"{mean['fill_tokens_pct']:.1f} % of tokens, {mean['fill_patches_pct']:.1f} % of patches",
        ),
        ("speed", f"{mean['pages_per_s']:.1f} pages/s, {mean['tokens_per_s']:,.0f} tokens/s on this CPU"),
        ("whole demo", f"{report.seconds:.0f} s"),
    ):
        summary.add_row(what, figure)
    proof = Table(title="an interrupted run is the uninterrupted one", show_header=False)
    for what, is_same in report.is_same.items():
        proof.add_row(what, "[green]equal, bit for bit[/]" if is_same else "[red]DIFFERENT[/]")
    console.print(summary)
    console.print(proof)
    for what, where in (
        ("shards", work / "shards"),
        ("trained model", RunLayout(run).final),
        ("curves", f"tensorboard --logdir {RunLayout(run).tensorboard}"),
        ("pages of a step", f"wdstream trace {run} --step 12"),
        ("logs", work / "*.log"),
    ):
        console.print(f"{what:>16}  {where}", highlight=False, soft_wrap=True)
