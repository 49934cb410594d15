"""README.md of a model folder: what it was trained from and on, how, how far, with which figures, and how to load it.

Written for people, with the head of YAML that a model hub reads. Names of datasets, their sizes and fingerprints are
in it; paths and addresses of data are not, for the folder may be published.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import Config, TilingConfig
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import RunFolder, read_run
from wdstream.storage.atomic import write_file
from wdstream.storage.json_lines import read_lines
from wdstream.text.characters import one_line
from wdstream.train.model.quantize import unquantized_modules
from wdstream.train.saving.exported import Exported

CARD_FILE = "README.md"
_LOSS_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderNotes:
    """What a folder of a run's model says of itself: README.md and wdstream_run.json.

    Attributes:
        exported: of wdstream_run.json.
        run: the folder of the run.
        counters: of the run at that step: num_pages, num_tokens, num_supervised.
        dtype: of the weights, such as bfloat16.
        is_adapter: the folder holds an adapter alone.
        is_average: its weights are the average that the run keeps (`train.ema`).
    """

    exported: Exported
    run: Path
    counters: Mapping[str, int] = field(default_factory=dict)
    dtype: str
    is_adapter: bool
    is_average: bool = False

    def write(self, folder: Path) -> None:
        """Put both files into a model folder."""
        self.exported.write(folder)
        text = "\n".join(_lines(self, read_run(self.run)))
        write_file(folder / CARD_FILE, f"{text}\n".encode())


def _lines(notes: FolderNotes, run: RunFolder) -> Iterator[str]:
    exported, config = notes.exported, run.config
    yield from _head(notes)
    yield f"# {_code(run.files.output.absolute().name)}, step {exported.step:,}"
    yield ""
    if notes.is_average:
        yield "The weights are the exponential moving average over the steps (`train.ema`)."
    yield f"{_what(notes, config)} Base model: {_code(exported.base)}. Trained with wdstream."
    yield from ("", "## Data", "", "| dataset | pages | fingerprint |", "| --- | ---: | --- |")
    for name, facts in sorted(run.data.items()):
        pages = facts.get("pages", "")
        yield f"| {_code(name)} | {pages} | {_code(str(facts.get('digest', '')))} |"
    fingerprints = ", ".join(f"{name} {_code(value)}" for name, value in sorted(run.fingerprints.items()))
    yield from ("", f"Fingerprints of the plan: {fingerprints}.")
    yield from ("", "## Training", "", *_training(notes, config))
    yield from ("", "## Evaluation", "", *_evaluation(run.files, exported.step))
    yield from ("", "## Versions", "", *_versions(run.packages))
    yield from ("", "## How to load it", "", "```python", *_loading(notes, config), "```")


def _head(notes: FolderNotes) -> Iterator[str]:
    library = "peft" if notes.is_adapter else "transformers"
    yield from ("---", f"base_model: {json.dumps(notes.exported.base)}", f"library_name: {library}")
    yield from ("pipeline_tag: image-text-to-text", "tags:", "- wdstream", "---", "")


def _what(notes: FolderNotes, config: Config) -> str:
    adapter = config.train.adapter
    if adapter is None:
        return f"All weights, in {notes.dtype}."
    kind = f"A LoRA adapter of rank {adapter.r}"
    if adapter.kind == "qlora":
        kind += f", trained over {' and '.join(adapter.quantized_parts)} in 4 bits ({adapter.quant_type.upper()})"
    return f"{kind}, merged into its base, in {notes.dtype}." if notes.exported.is_merged else f"{kind}."


def _training(notes: FolderNotes, config: Config) -> Iterator[str]:
    data, counters = config.data, notes.counters
    yield "| | |"
    yield "| --- | --- |"
    yield f"| steps | {notes.exported.step:,} |"
    for name, key in (("pages", "num_pages"), ("tokens", "num_tokens"), ("supervised tokens", "num_supervised")):
        if key in counters:
            yield f"| {name} | {counters[key]:,} |"
    yield f"| packs per step | {data.global_batch_size} |"
    yield f"| a pack | at most {data.sequence_length:,} tokens and {data.max_patches:,} patches; pool {data.pool} |"
    yield f"| tiling | {_code(json.dumps(_chosen_tiling(config)))} |"
    yield f"| learning rate | {config.train.lr:g}, {config.train.optimizer} |"


def _chosen_tiling(config: Config) -> dict[str, object]:
    """The section `tiling:` without what is as by default, but always with its kind."""
    tree, default = config.tiling.model_dump(mode="json"), TilingConfig().model_dump(mode="json")
    return {name: value for name, value in tree.items() if name == "kind" or value != default[name]}


def _evaluation(files: RunLayout, step: int) -> Iterator[str]:
    """A row for each set: its newest evaluation up to the step."""
    newest: dict[str, dict[str, Any]] = {}
    for line in read_lines(files.evaluations, needed=("step", "name")):
        if line["step"] < step:
            newest[str(line["name"])] = line
    if not newest:
        yield "None up to this step."
        return
    yield "| set | after step | loss | CER | WER |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, line in sorted(newest.items()):
        figures = (f"{line[key]:.{_LOSS_DIGITS}f}" if key in line else "" for key in ("loss", "cer", "wer"))
        yield f"| {_code(name)} | {int(line['step']) + 1:,} | {' | '.join(figures)} |"


def _versions(packages: Mapping[str, str | None]) -> Iterator[str]:
    yield ", ".join(f"{name} {version}" for name, version in sorted(packages.items()) if version)


def _loading(notes: FolderNotes, config: Config) -> Iterator[str]:
    adapter = config.train.adapter
    if not notes.is_adapter or adapter is None:
        yield "from transformers import AutoModelForImageTextToText, AutoTokenizer"
        yield f'model = AutoModelForImageTextToText.from_pretrained("THIS_FOLDER", dtype="{notes.dtype}")'
    else:
        base, options = json.dumps(notes.exported.base), 'dtype="auto"'
        yield "from peft import PeftModel"
        yield "from transformers import AutoModelForImageTextToText, AutoTokenizer, BitsAndBytesConfig"
        if adapter.kind == "qlora":
            yield f"in_4_bits = BitsAndBytesConfig({_four_bits(config.model.path, adapter)})"
            options += ", quantization_config=in_4_bits"
        yield f"base = AutoModelForImageTextToText.from_pretrained({base}, {options})"
        yield 'model = PeftModel.from_pretrained(base, "THIS_FOLDER")'
    yield 'tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")'
    yield "# wdstream reads pages with it as in training: wdstream chat THIS_FOLDER page.png"


def _four_bits(base: Path, adapter: AdapterConfig) -> str:
    """Arguments that quantise the base as it was while an adapter was trained over it."""
    kind = f'load_in_4bit=True, bnb_4bit_quant_type="{adapter.quant_type}"'
    left_out = json.dumps(unquantized_modules(base, adapter))
    return f"{kind}, bnb_4bit_use_double_quant={adapter.double_quant}, llm_int8_skip_modules={left_out}"


def _code(text: str) -> str:
    """A name as code in Markdown, in a table too; nothing in it is markup."""
    return f"`{one_line(text).replace('`', chr(39)).replace('|', '/')}`"
