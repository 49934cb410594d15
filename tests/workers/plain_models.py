"""Run as a process by tests of exported models: plain transformers and peft, nothing of wdstream, write what follows.

The models are loaded by the lines that their own README.md gives. Argument: a JSON file, {"folders": [...], "prompts":
[safetensors files], "tokens": number}; prints [[ids, the largest logit of the first of them] of each prompt] as JSON,
by folder.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import GenerationConfig


def load(folder: Path) -> Any:
    lines = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(lines.replace("THIS_FOLDER", str(folder)), names)
    return names["model"]


def write(model: Any, prompt: dict[str, torch.Tensor], count: int) -> tuple[list[int], float]:
    base = getattr(model, "get_base_model", lambda: model)()
    own = base.generation_config
    base.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )
    dtype = next(base.parameters()).dtype
    inputs = {key: value.to(dtype) if value.is_floating_point() else value for key, value in prompt.items()}
    with torch.no_grad():
        found = model.generate(**inputs)
    ids = found.sequences[0, prompt["input_ids"].shape[1] :]
    return ids.tolist(), float(found.logits[0].max())


def main(job: dict[str, Any]) -> None:
    found = {}
    for name in job["folders"]:
        folder = Path(name)
        model = load(folder).eval()
        found[name] = [write(model, load_file(prompt), job["tokens"]) for prompt in job["prompts"]]
    print(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(json.loads(Path(sys.argv[1]).read_text()))
