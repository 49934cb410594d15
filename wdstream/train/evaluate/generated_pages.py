"""The first pages of an evaluation set, written by the model: shared among the ranks, compared, kept in a file.

plan ──first pages──► page 0, page 1, ...      the same ones each time, and for any number of ranks
round r: rank k writes page r * world + k      then all ranks gather, so none waits longer than one page takes

RUN/generated/NAME/step-00000499.jsonl         one line per page: key, reference, prediction, cer, wer, is_cut
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from accelerate.utils import gather_object

from wdstream.config.schema import Config
from wdstream.config.training import GenerateConfig
from wdstream.errors import ConfigError, RowError, TrainError, needs_extra
from wdstream.pipeline.build_pack import PackBuilder
from wdstream.pipeline.plan_source import PackTask
from wdstream.pipeline.planned import Plan, pack_builder
from wdstream.records import Failure, PackPlan, World
from wdstream.storage.json_lines import write_lines
from wdstream.text.characters import printable
from wdstream.train.evaluate.error_rate import ErrorCounts, count_errors, normalise
from wdstream.train.evaluate.generate import Prompt, cut_prompt, stop_ids, text_of_ids, write_ids
from wdstream.train.step.step import Engine, undisturbed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUM_SAMPLES, SAMPLE_CHARS = 2, 160
"""Pages shown in the log, and how much of each text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """A page that the model wrote.

    Attributes:
        key: of the page.
        reference, prediction: the text it should have written, and the one it wrote.
        counts: errors of the prediction.
        is_cut: it wrote no EOS within `max_new_tokens`.
    """

    key: str
    reference: str
    prediction: str
    counts: ErrorCounts
    is_cut: bool

    def as_dict(self) -> dict[str, object]:
        """A line of the file of the set."""
        return {
            "key": self.key,
            "reference": self.reference,
            "prediction": self.prediction,
            "cer": self.counts.cer,
            "wer": self.counts.wer,
            "is_cut": self.is_cut,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSet:
    """The pages of a set in plan order; `failures` were not written and count for nothing."""

    pages: tuple[PageText, ...]
    failures: tuple[Failure, ...]

    @property
    def counts(self) -> ErrorCounts:
        """Errors over all pages."""
        return sum((page.counts for page in self.pages), ErrorCounts())

    def figures(self) -> dict[str, float]:
        """What is reported with the loss of the set; no rates where no page was written."""
        numbers = {
            "generated": len(self.pages),
            "cut": sum(page.is_cut for page in self.pages),
            "not_generated": len(self.failures),
        }
        return {"cer": self.counts.cer, "wer": self.counts.wer, **numbers} if self.pages else {**numbers}

    def lines(self) -> Iterator[str]:
        """A few lines for a person: what could not be written, and the first pages with what they should be."""
        for failure in self.failures:
            yield f"  page {failure.key!r} was not written: {failure.reason}"
        for page in self.pages[:NUM_SAMPLES]:
            yield f"  page {page.key!r}: CER {page.counts.cer:.3f}{', cut off' if page.is_cut else ''}"
            yield f"    reference  {_short(page.reference)}"
            yield f"    prediction {_short(page.prediction)}"


def check_generation(config: Config, *, is_sharded: bool) -> None:
    """Refuse `train.generate` where it cannot work, before anything is loaded.

    Raises:
        ConfigError: there is no set to write, or the model is sharded.
        TrainError: rapidfuzz is not installed.
    """
    if config.train.generate is None:
        return
    if not config.data.eval:
        raise ConfigError("train.generate: data.eval names no set whose pages could be written; add one, or drop it")
    if is_sharded:
        raise ConfigError(
            "train.generate: under FSDP and ZeRO-3 every token written would gather the whole model again, and the "
            "ranks would have to write equally many; drop it, and run `wdstream evaluate RUN --generate 16` after the "
            "training"
        )
    with needs_extra("train.generate", "train", error_type=TrainError):
        import rapidfuzz  # noqa: F401


def write_set(
    engine: Engine,
    plan: Plan,
    settings: GenerateConfig,
    world: World,
    *,
    on_progress: Callable[[int, int], None],
) -> WrittenSet:
    """Have the model write the first pages of a set; all ranks call it together, and get the same result.

    Args:
        engine: the model; its modes and random numbers are as before afterwards.
        plan: of the set.
        settings: how many pages, and how long they may get.
        world: this rank among all.
        on_progress: called with (pages done, pages in total).

    Raises:
        ShardError: a shard is missing or damaged as a whole.
    """
    pages, builder = first_pages(plan, settings.max_pages), pack_builder(plan)
    results: list[PageText | Failure] = []
    with undisturbed(engine):
        for start in range(0, len(pages), world.size):
            own = pages[start : start + world.size][world.rank : world.rank + 1]
            found = [write_page(engine, builder, page, settings.max_new_tokens) for page in own]
            results += gather_object(found)
            on_progress(len(results), len(pages))
    return WrittenSet(
        pages=tuple(result for result in results if isinstance(result, PageText)),
        failures=tuple(result for result in results if isinstance(result, Failure)),
    )


def first_pages(plan: Plan, count: int) -> list[PackPlan]:
    """The first pages of a plan, each as a pack of its own; a model writes whole pages, so none of those split."""
    pages: list[PackPlan] = []
    with closing(plan.steps()) as steps:
        for step in steps:
            singles = [page for pack in step.packs for page in single_pages(pack)]
            pages += [page for page in singles if plan.mixture.part_of(page.samples[0]) is None]
            if len(pages) >= count:
                break
    return pages[:count]


def single_pages(pack: PackPlan) -> Iterator[PackPlan]:
    """A pack of one page for each page of a pack; all that it has a value of for each page is cut alike."""
    columns = {field.name: getattr(pack, field.name) for field in fields(pack)}
    columns = {name: values for name, values in columns.items() if isinstance(values, tuple)}
    for slot in range(len(pack.samples)):
        yield replace(pack, **{name: values[slot : slot + 1] for name, values in columns.items()})


def write_page(
    engine: Engine, builder: PackBuilder[PackTask], page: PackPlan, max_new_tokens: int
) -> PageText | Failure:
    """One page written and compared, or why it could not be."""
    family = engine.family
    pack = builder(PackTask(pack=page))
    if pack.failures:
        return pack.failures[0]
    try:
        prompt = cut_prompt(pack, family)
    except RowError as error:
        return Failure(key=pack.keys[0], sample=page.samples[0], reason=str(error))
    ids = written_ids(engine, prompt, max_new_tokens)
    reference, prediction = text_of_ids(prompt.reference, family), text_of_ids(ids, family)
    return PageText(
        key=pack.keys[0],
        reference=reference,
        prediction=prediction,
        counts=count_errors(reference, prediction),
        is_cut=ids[-1] not in stop_ids(bare_model(engine), family),
    )


def bare_model(engine: Engine) -> "PreTrainedModel":
    """The Hugging Face model; under PEFT with its adapters in place."""
    model: PreTrainedModel = engine.accelerator.unwrap_model(engine.model)
    return cast("PreTrainedModel", getattr(model, "get_base_model", lambda: model)())


def written_ids(engine: Engine, prompt: Prompt, max_new_tokens: int) -> list[int]:
    """What the model writes after a prompt; see `write_ids`."""
    with engine.accelerator.autocast():
        return write_ids(bare_model(engine), engine.family, prompt, dtype=engine.dtype, max_new_tokens=max_new_tokens)


def save_pages(path: Path, written: WrittenSet) -> None:
    """Write a line per page, those that failed at the end with their reason; the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = [{"key": failure.key, "reason": failure.reason} for failure in written.failures]
    write_lines(path, [*(page.as_dict() for page in written.pages), *failures])


def _short(text: str) -> str:
    """The beginning of a text on one line; nothing in it acts on the terminal."""
    line = printable(normalise(text))
    return line if len(line) <= SAMPLE_CHARS else line[: SAMPLE_CHARS - 1] + "…"
