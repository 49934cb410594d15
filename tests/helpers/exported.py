"""What plain transformers and peft write with an exported model, in a process and a folder of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.helpers.paths import ROOT
from wdstream.config.schema import Config
from wdstream.pipeline.plan_source import PackTask
from wdstream.pipeline.planned import pack_builder
from wdstream.storage.json_lines import read_lines
from wdstream.train.evaluate.generate import cut_prompt, prompt_inputs, text_of_ids
from wdstream.train.evaluate.generated_pages import first_pages
from wdstream.train.evaluate.sets import plan_sets


def written_by_run(run: Path, step: int) -> list[str]:
    """What the model wrote of the pages of the set `held_out` in the run's own evaluation after a step."""
    return [line["prediction"] for line in read_lines(run / "generated" / "held_out" / f"step-{step - 1:08}.jsonl")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainWriting:
    """What plain transformers and peft write with a folder.

    Attributes:
        texts: of each page.
        logits: of each page, that of its first token, which tells models apart that write the same.
    """

    texts: list[str]
    logits: list[float]


def written_by_plain_models(config: Config, folders: Sequence[Path], work: Path) -> dict[Path, list[str]]:
    """The same pages as plain transformers and peft write them with each of these folders."""
    return {folder: found.texts for folder, found in read_by_plain_models(config, folders, work).items()}


def read_by_plain_models(config: Config, folders: Sequence[Path], work: Path) -> dict[Path, PlainWriting]:
    """`written_by_plain_models`, with a logit of each page."""
    settings = config.train.generate
    assert settings is not None
    ((_, plan),) = plan_sets(config, world_size=1)
    builder, family, files = pack_builder(plan), plan.family, []
    work.mkdir()
    for number, page in enumerate(first_pages(plan, settings.max_pages)):
        prompt = cut_prompt(builder(PackTask(pack=page)), family)
        inputs = prompt_inputs(prompt.pack, family, device=torch.device("cpu"), dtype=torch.float32)
        tensors = {key: value.contiguous() for key, value in inputs.items() if isinstance(value, torch.Tensor)}
        files.append(str(work / f"{number}.safetensors"))
        save_file(tensors, files[-1])
    job = {
        "folders": [str(folder.absolute()) for folder in folders],
        "prompts": files,
        "tokens": settings.max_new_tokens,
    }
    (work / "job.json").write_text(json.dumps({**job, "tokens": settings.max_new_tokens}))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    command = [sys.executable, str(ROOT / "tests/workers/plain_models.py"), str(work / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work, env=environment)
    assert done.returncode == 0, done.stderr
    by_folder = json.loads(done.stdout)
    written = {}
    for folder in folders:
        found = by_folder[str(folder.absolute())]
        written[folder] = PlainWriting(
            texts=[text_of_ids(ids, family) for ids, _ in found], logits=[logit for _, logit in found]
        )
    return written
