"""A look at what a model reads: it writes the text of a few pages that nobody planned.

page.png, report.pdf#3, or KEY of shards ──► tiled, labelled, encoded as in training ──► prompt ──► greedy decoding

Without a prompt a page is continued where a page of training has its text; with one, the model answers in its chat
template. Tiling, text, pixels and adapter are those of the run; wdstream_run.json has them in a folder without its run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wdstream.batches.collate import encode_pack
from wdstream.batches.sample import build_sample
from wdstream.config.build import family_from_config, tiling_from_config
from wdstream.config.schema import Config, config_from_tree
from wdstream.errors import ConfigError, PageError, RowError, TrainError
from wdstream.families.shared.chat import render_chat
from wdstream.nodes.tile import TileRenderer
from wdstream.pipeline.planned import family_for_pixels, fit_tiling
from wdstream.pixels.settings import PixelSettings
from wdstream.proofs.weight_files import ADAPTER
from wdstream.raw.images import read_file, store_image
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredImage, page_of_image
from wdstream.records import Page
from wdstream.runs.best import resolve_checkpoint
from wdstream.runs.checkpoint import read_checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run
from wdstream.shards.reader import Shards
from wdstream.text.messages import segments_from_messages
from wdstream.tiling.labels import label_page
from wdstream.train.evaluate.generate import Prompt, cut_prompt, stop_ids, text_of_ids
from wdstream.train.evaluate.generated_pages import bare_model, written_ids
from wdstream.train.evaluate.standalone import as_evaluated, load_engine, load_measured, read_settings
from wdstream.train.launch.accelerator import start_accelerator
from wdstream.train.saving.exported import NOTES, read_exported
from wdstream.train.step.step import Engine, undisturbed

_PDF_PAGE = re.compile(r"(.+\.pdf(?:\.gz)?)#([0-9]{1,7})", re.DOTALL | re.IGNORECASE)
_ANY_TEXT = "text"
"""Where a page has none: the prompt ends before it, so it matters only that it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What the model wrote of a page.

    Attributes:
        name: the page, as it was asked for.
        text: that was written.
        is_cut: it wrote no EOS within the tokens that it had.
    """

    name: str
    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model that is loaded, and how pages are given to it.

    Attributes:
        engine: the model.
        renderer: how pages become tiles.
    """

    engine: Engine
    renderer: TileRenderer

    def prompt(self, page: Page) -> Prompt:
        """What the model sees of a page: all up to its last text.

        Raises:
            PageError: it cannot be decoded, or has nothing before its text.
        """
        family = self.engine.family
        tiled = self.renderer.render(render_chat(page, family))
        return cut_prompt(encode_pack([build_sample(label_page(tiled), family)], family), family)

    def reply(self, page: Page, *, max_new_tokens: int) -> ChatReply:
        """What the model writes of a page; under its key.

        Raises:
            PageError: see `prompt`.
        """
        family, prompt = self.engine.family, self.prompt(page)
        with undisturbed(self.engine):
            ids = written_ids(self.engine, prompt, max_new_tokens)
        is_cut = ids[-1] not in stop_ids(bare_model(self.engine), family)
        return ChatReply(name=page.key, text=text_of_ids(ids, family), is_cut=is_cut)


def chat(
    model: Path,
    names: list[str],
    *,
    shards: str | None = None,
    prompt: str | None = None,
    max_new_tokens: int = 512,
    step: str | None = None,
    overrides: tuple[str, ...] = (),
) -> Iterator[ChatReply]:
    """What a model writes of pages, one after the other.

    Args:
        model: a run, or a folder of a model or adapter.
        names: image files, `FILE.pdf#3`, or with `shards` keys of pages.
        shards: the folder of shards that the keys are of.
        prompt: a question on each page; None continues it as a page of training.
        max_new_tokens: of each page.
        step: of a run, this checkpoint; None: its final.
        overrides: `section.key=value`, of the settings that the model was trained with.

    Raises:
        WdstreamError: a page or the model cannot be read.
    """
    pages = [_page(name, shards) for name in names]  # before the model is loaded, which takes longer
    loaded = load_chat(model, step=step, overrides=overrides)
    for name, page in zip(names, pages, strict=True):
        try:
            asked = page if prompt is None else with_question(page, prompt)
            yield replace(loaded.reply(asked, max_new_tokens=max_new_tokens), name=name)
        except PageError as error:
            raise TrainError(f"{name}: {error}") from error


def load_chat(path: Path, *, step: str | None = None, overrides: tuple[str, ...] = ()) -> ChatModel:
    """Load a model with the settings by which it was trained; see `chat`.

    Raises:
        ConfigError: there is neither run nor model, or settings contradict each other.
        TrainError: the run has no such checkpoint or no final, or the model cannot be loaded.
    """
    if RunLayout(path).record.is_file():
        config, weights = read_settings(path, overrides) if step is None else (_of_run(path, overrides), None)
    elif step is not None:
        raise ConfigError(f"--step {step}: {path} is not the folder of a run, so it has no checkpoints; leave it out")
    else:
        config, weights = _of_folder(path, overrides)
    accelerator = start_accelerator(config)
    if accelerator.num_processes > 1:
        raise ConfigError("wdstream chat: one process writes; leave out `accelerate launch`")
    family, tiling = fit_tiling(family_from_config(config), tiling_from_config(config.tiling))
    pixels = PixelSettings.within(config.data)
    engine = load_engine(config, accelerator, family_for_pixels(family, pixels), weights)
    if step is not None:
        checkpoint = read_checkpoint(resolve_checkpoint(path, step))
        load_measured(accelerator.unwrap_model(engine.model), checkpoint, config.train)
    renderer = TileRenderer(tiling=tiling, max_pixels=config.data.max_pixels, decode=pixels.decode)
    return ChatModel(engine=engine, renderer=renderer)


def _of_run(path: Path, overrides: tuple[str, ...]) -> Config:
    return as_evaluated(config_from_tree(read_run(path).config.model_dump(mode="json"), overrides, path))


def _of_folder(path: Path, overrides: tuple[str, ...]) -> tuple[Config, Path | None]:
    """The settings of a folder of a model or adapter, and where the adapter's weights are."""
    exported, is_adapter = read_exported(path), (path / ADAPTER).is_file()
    if is_adapter and (exported is None or exported.adapter is None):
        raise ConfigError(
            f"{path}: an adapter without {NOTES}, which would say how its pages are read; merge it first: "
            f"`wdstream model merge {path} OUT`"
        )
    if not is_adapter and not (path / "config.json").is_file():
        raise ConfigError(f"{path}: holds no run, model or adapter; is the path right?")
    settings = {} if exported is None else exported.settings
    tree = {
        **settings,
        "model": {**settings.get("model", {}), "path": str(exported.base if exported and is_adapter else path)},
        "data": {**settings.get("data", {}), "train": [{"path": "none"}]},
        "train": {"adapter": settings["train"]["adapter"] if is_adapter else None},
    }
    return as_evaluated(config_from_tree(tree, overrides, path)), path if is_adapter else None


def _page(name: str, shards: str | None) -> Page:
    """The page of a name, as `make-shards` would store it.

    Raises:
        ConfigError: there is no such page.
        PageError: it cannot be drawn or decoded.
    """
    if shards is not None:
        opened = Shards.open(shards)
        row = opened.find(name)
        if row is None:
            raise ConfigError(f"{name}: no page of {shards} has this key; `wdstream info {shards}` says what is there")
        return opened.read_page(row)
    settings = RawSettings()
    try:
        if found := _PDF_PAGE.fullmatch(name):
            image = _drawn(Path(found[1]), int(found[2]), settings)
        else:
            image = store_image(read_file(Path(name)), settings)
    except PageError as error:
        raise TrainError(f"{name}: {error}") from error
    return page_of_image(Path(name).name, image, _ANY_TEXT, {}).page


def _drawn(path: Path, number: int, settings: RawSettings) -> StoredImage:
    from wdstream.raw.pdf.document import open_pdf  # of an extra

    with open_pdf(path) as pdf:
        if not 1 <= number <= pdf.num_pages:
            raise RowError(f"the PDF has the pages 1 to {pdf.num_pages}")
        with pdf.page(number) as page:
            return page.render(
                dpi=settings.dpi, jpeg_quality=settings.jpeg_quality, max_pixels=settings.max_pixels, fit=settings.fit
            )


def with_question(page: Page, prompt: str) -> Page:
    """A chat row: all images of a page, then the question, then an answer that is to be written."""
    question = [*({"type": "image"} for _ in page.images), {"type": "text", "text": prompt}]
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": _ANY_TEXT}]
    return replace(page, segments=segments_from_messages(turns, num_images=len(page.images)))
