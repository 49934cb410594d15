"""Sections of the lap that train: the real command over drawn pages, measured by what the run writes."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lap.place import Place, Skipped
from wdstream.testing.tiny.qwen_vl import QWEN2_5_VL
from wdstream.testing.tiny.recipe import TinyRecipe, Tree

VOCAB_SIZE = 4096
STEPS, WARM = 14, 4
"""Of a run; the first ones, in which kernels are chosen and memory is found, do not count."""
CONFIG = """\
model: {{path: {root}/model, attn: sdpa, dtype: auto}}
data:
  train: [{{path: {root}/shards}}]
  sequence_length: {tokens}
  max_patches: {patches}
  global_batch_size: 2
  workers: 8
  prefetch: 4
tiling: {{kind: adaptive, tile_size: {side}, labels: text}}
train: {{output: {root}/run, max_steps: {steps}, lr: 1.0e-5, checkpoint_every: 100000, gradient_checkpointing: true}}
"""


def qwen(*, width: int, layers: int, heads: int, inner: int, vision_layers: int) -> TinyRecipe:
    """Qwen2.5-VL in the widths of a published one, with fewer layers; the vision tower has windows but in its last."""
    half = width // heads // 2
    columns = 3 * half // 8
    text: Tree = {
        **QWEN2_5_VL.config["text_config"],
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": [half - 2 * columns, columns, columns]}
    vision: Tree = {"depth": vision_layers, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420}
    vision |= {"out_hidden_size": width, "window_size": 112, "fullatt_block_indexes": [vision_layers - 1]}
    return replace(QWEN2_5_VL, config={**QWEN2_5_VL.config, "text_config": text, "vision_config": vision})


HALF_B = qwen(width=896, layers=24, heads=14, inner=4864, vision_layers=8)
THREE_B = qwen(width=2048, layers=10, heads=16, inner=11008, vision_layers=8)
"""10 of 36 layers: the cost of a layer is that of the whole model's, and the weights are written in seconds."""


def prepare(place: Place, recipe: TinyRecipe) -> Path:
    """A folder with model, shards and configuration; returns the configuration."""
    from wdstream.make_shards import MakeShardsOptions, make_shards
    from wdstream.testing import make_pages, make_tiny_model

    root = place.root
    model = make_tiny_model(root / "model", family=QWEN2_5_VL if place.is_dry else recipe, vocab_size=VOCAB_SIZE)
    raw = make_pages(root / "raw", num_pages=10 if place.is_dry else 120)
    make_shards(raw, root / "shards", options=MakeShardsOptions(tokenizer=model, workers=1 if place.is_dry else 8))
    sizes = {"tokens": 1024, "patches": 4096, "steps": 3, "side": 112} if place.is_dry else {}
    sizes = sizes or {"tokens": 8192, "patches": 32768, "steps": STEPS, "side": 1024}
    config = root / "cfg.yaml"
    config.write_text(CONFIG.format(root=root, **sizes), encoding="utf-8")
    return config


def train_here(config: Path, name: str, *settings: str, world_of_one: bool = False, script: str = "") -> list[Any]:
    """The lines of metrics of a run by the training command.

    Args:
        config: of the run.
        name: of its folder.
        settings: `key=value`.
        world_of_one: with the environment of a launcher of one process, under FSDP2.
        script: a Python program to run in the place of the command, with the same arguments.
    """
    output = config.parent / name
    chosen = [word for setting in (f"train.output={output}", *settings) for word in ("--set", setting)]
    program = ["-c", script] if script else ["-m", "wdstream.train"]
    environment = os.environ | (FSDP_OF_ONE if world_of_one else {})
    done = subprocess.run(
        [sys.executable, *program, str(config), *chosen], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise RuntimeError(f"{name}: {lines[-1]}")
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


FSDP_OF_ONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29577",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}


def mean_of(lines: Sequence[Mapping[str, float]], name: str) -> float | None:
    """Of the lines after those that warm up; None where the run does not write such a figure."""
    found = [line[name] for line in lines[min(WARM, len(lines) - 1) :] if line.get(name) is not None]
    return statistics.fmean(found) if found else None


FIGURES = ("tokens_per_s", "step_s", "data_wait_pct", "tflops", "mfu_pct", "gpu_peak_gb")


def speed(lines: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Figures of a run, as it writes them itself (docs/training.md, "Watching a run")."""
    means = {name: mean_of(lines, name) for name in FIGURES}
    return {**means, "losses": [line["loss"] for line in lines[:3]]}


def measure_half_b(place: Place) -> dict[str, Any]:
    """A run of the 0.5B."""
    return _measure(place, HALF_B)


def measure_three_b(place: Place) -> dict[str, Any]:
    """A run in the widths of 3B."""
    return _measure(place, THREE_B)


def _measure(place: Place, recipe: TinyRecipe) -> dict[str, Any]:
    place.device  # noqa: B018  # refuses before anything is written
    config = prepare(place, recipe)
    return speed(train_here(config, "run"))


PROFILED = """
import json, sys
from pathlib import Path
import torch
from wdstream.train import loop

step, profiles, count = loop.train_step, [], [0]


def profiled(*arguments, **options):
    count[0] += 1
    if count[0] == FIRST:
        profiles.append(torch.profiler.profile(activities=ACTIVITIES).__enter__())
    if count[0] == LAST:
        torch.cuda.synchronize() if torch.cuda.is_available() else None
        profiles[0].__exit__(None, None, None)
        profiles[0].export_chrome_trace(str(Path(sys.argv[1]).parent / "trace.json"))
    return step(*arguments, **options)


loop.train_step = profiled
from wdstream.train.__main__ import main

sys.exit(main())
"""
"""The training command with torch's profiler on from step FIRST to LAST."""


def measure_overlap(place: Place) -> dict[str, Any]:
    """Share of the profiled steps in which nothing runs on the GPU, and in which data are copied to it."""
    first, last = (1, 3) if place.is_dry else (WARM + 1, WARM + 7)
    kinds = "" if place.is_dry else ", torch.profiler.ProfilerActivity.CUDA"
    place.device  # noqa: B018  # refuses before anything is written
    config = prepare(place, HALF_B)
    script = PROFILED.replace("FIRST", str(first)).replace("LAST", str(last))
    script = script.replace("ACTIVITIES", f"[torch.profiler.ProfilerActivity.CPU{kinds}]")
    train_here(config, "run", script=script)
    trace = json.loads((config.parent / "trace.json").read_text(encoding="utf-8"))
    return shares_of(trace["traceEvents"])


def shares_of(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares of the time between the first and the last kernel, by the events of a trace."""
    spans = {
        kind: [(event["ts"], event["ts"] + event["dur"]) for event in events if event.get("cat") in kinds]
        for kind, kinds in (("kernels", ("kernel",)), ("copies", ("gpu_memcpy",)))
    }
    if not spans["kernels"]:
        return {"skipped": "no kernel ran on a GPU", "events": len(events)}
    began, ended = min(start for start, _ in spans["kernels"]), max(end for _, end in spans["kernels"])
    busy = covered([*spans["kernels"], *spans["copies"]])
    both = covered(spans["kernels"]) + covered(spans["copies"]) - busy
    whole = ended - began
    return {
        "idle_share": 1 - busy / whole,
        "copy_share": covered(spans["copies"]) / whole,
        "copied_meanwhile": both / whole,
    }


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """The length of the union of spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def measure_compiled(place: Place) -> dict[str, Any]:
    """Rows of one length with compiled layers and without."""
    place.device  # noqa: B018  # refuses before anything is written
    config = prepare(place, HALF_B)
    fixed = ("data.pad_to=full", "train.gradient_checkpointing=false")
    backend = ("train.compile_backend=aot_eager",) if place.is_dry else ()
    plain = train_here(config, "plain", *fixed)
    compiled = train_here(config, "compiled", *fixed, "train.compile=true", *backend)
    return {name: speed(lines) for name, lines in (("plain", plain), ("compiled", compiled))}


def measure_fsdp(place: Place) -> dict[str, Any]:
    """FSDP2 in a world of one process, next to a plain run."""
    place.gpu  # noqa: B018
    config = prepare(place, QWEN2_5_VL)
    plain, sharded = train_here(config, "plain"), train_here(config, "sharded", world_of_one=True)
    return {
        "losses": [line["loss"] for line in plain],
        "loss_distance": max(abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(plain, sharded, strict=True)),
        "gradient_norm_distance": max(
            abs(a["grad_norm"] - b["grad_norm"]) / a["grad_norm"] for a, b in zip(plain, sharded, strict=True)
        ),
    }


def measure_qlora(place: Place) -> dict[str, Any]:
    """4-bit weights with an adapter, and a paged 8-bit optimizer."""
    place.device  # noqa: B018  # refuses before anything is written
    try:
        import bitsandbytes
    except Exception as error:  # a library that does not fit the driver raises many kinds
        raise Skipped(f"bitsandbytes does not load: {error}") from error
    config = prepare(place, QWEN2_5_VL)
    optimizer = () if place.is_dry else ("train.optimizer=paged_adamw_8bit",)
    lines = train_here(config, "run", "train.adapter={kind: qlora, r: 8}", "train.lr=1.0e-3", *optimizer)
    return {"losses": [line["loss"] for line in lines], "bitsandbytes": bitsandbytes.__version__}
