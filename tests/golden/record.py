"""What a run was, as literal lines: digests of steps, checksums of shards, losses, a saved state. Records them again.

    python tests/golden/record.py                  writes expected.json and state.json, once a change is wanted
    python tests/golden/record.py --out FOLDER     writes them there, to compare

Everything goes through `python -m wdstream`, `python -m wdstream.train` and `from wdstream import ...`, so that it
outlives any move inside. It runs in one process, since every start of torch costs seconds; test_golden.py starts it.
The inputs are real pages of tests/data/pages and raw/chat.jsonl, which uses some of their pictures.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

import numpy as np
import yaml

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "pages"
# One of each way in: PDFs with their fonts inside, a scan as JPEG, grey, bilevel and colour images, interleaved rows.
PAGES = (
    *("pdf/handbook-de-sect.apparmor.pdf", "pdf/handbook-fa-sect.user-space*", "pdf/slides-packaging-tutorial.ja.pdf"),
    *("scans/leptonlib-cat.007.jpg", "images/*phototest*", "images/ocrmypdf-typewriter*", "images/leptonlib-german*"),
    *("rows/interleaved.jsonl", "rows/images/*"),
)
STEPS = "0:4"
STATE_STEP = 2
MAX_STEPS = 6
"""Of the training run; its losses are part of the record."""


def command(module: str, *arguments: str | Path) -> str:
    """What `python -m module arguments` prints, run here."""
    printed, before = io.StringIO(), sys.argv
    sys.argv = [module, *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of runpy: the module was run before
            runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        if ended.code not in (0, None):
            raise RuntimeError(f"{module} {arguments} ended with {ended.code}: {printed.getvalue()}") from ended
    finally:
        sys.argv = before
    return printed.getvalue()


def wdstream(*arguments: str | Path) -> str:
    """What `wdstream arguments` prints."""
    return command("wdstream", *arguments)


def prepare(work: Path) -> None:
    """Two tiny models; raw pages and raw chat rows; shards of both, counted for both tokenizers."""
    for pattern in PAGES:
        for path in sorted(DATA.glob(pattern)):
            target = work / "raw" / path.relative_to(DATA)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (work / "raw-chat").mkdir()
    shutil.copyfile(HERE / "raw" / "chat.jsonl", work / "raw-chat" / "chat.jsonl")
    for name in ("ocrmypdf-linn.png", "ocrmypdf-baiona_color.jpg", "tesseract-hebrew.png"):
        shutil.copyfile(DATA / "rows" / "images" / name, work / "raw-chat" / name)
    for family in ("qwen2_5_vl", "idefics3"):
        wdstream("make-tiny-model", work / family, "--family", family, "--vocab-size", "1024")
    options = ("--tokenizer", work / "qwen2_5_vl", "--paragraphs", "--workers", "1", "--dpi", "40")
    wdstream("make-shards", work / "raw", work / "pages", *options, "--pages-per-shard", "4")
    wdstream("make-shards", work / "raw-chat", work / "chat", *options, "--pages-per-shard", "4")


def configurations(work: Path) -> Mapping[str, dict[str, Any]]:
    """The runs whose steps are recorded, as trees of a YAML configuration."""
    pages, chat = {"path": str(work / "pages")}, {"path": str(work / "chat")}
    buckets = {"kind": "shape_buckets", "tile_size": 84, "overview_size": 56}
    data: dict[str, Any] = {"sequence_length": 1024, "max_patches": 640, "global_batch_size": 2, "pool": 12, "seed": 3}
    data["overlength"] = "downscale"

    def run(*train: dict[str, Any], tiling: dict[str, Any], family: str = "qwen2_5_vl", **more: Any) -> dict[str, Any]:
        return {
            "model": {"path": str(work / family), "dtype": "float32"},
            "data": {"train": list(train), **data, **more},
            "tiling": tiling,
            "train": {"output": str(work / "run"), "max_steps": MAX_STEPS, "lr": 1e-3, "record_bytes": True},
        }

    mixed: dict[str, Any] = {"weights_in": "tokens", "shuffle_shards": 2}
    return {
        "planned": run(pages, tiling=buckets),
        "mixture": run(
            *({**pages, "weight": 3}, {**chat, "weight": 1}), tiling={"kind": "adaptive", "tile_size": 168}, **mixed
        ),
        "split": run(
            *(pages,),
            tiling={"kind": "none", "image_size": 168, "resample": "lanczos"},
            sequence_length=400,
            overlength="split",
        ),
        "chat": run(chat, tiling={"kind": "grid", "grid": [2, 1], "tile_size": 112, "overview_size": 56}),
        "idefics3": run(
            *(pages,),
            tiling={"kind": "native", "resample": "bilinear"},
            family="idefics3",
            max_patches=4096,
            epochs=2,
            tail="pad",
        ),
        "streamed": run(pages, tiling=buckets, streaming={"lanes": 2, "shuffle_buffer": 4}),
    }


def record(work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of expected.json and of state.json, made in an empty folder."""
    prepare(work)
    expected: dict[str, Any] = {"shards": checksums(work / "pages"), "digest": {}, "losses": {}}
    del expected["shards"][".make-shards/input.jsonl"]  # times of the input's files
    wdstream("lengths", work / "pages", "--tokenizer", work / "idefics3", "--workers", "1")
    trees = configurations(work)
    for name, tree in trees.items():
        path = work / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        if name not in ("planned", "streamed"):
            expected["digest"][name] = wdstream("digest", path, "--steps", STEPS).splitlines()
    state = {}
    for name in ("planned", "streamed"):  # these are trained on, too: the streamed has no other record of its bytes
        output = work / f"run-{name}"
        settings = ("--set", f"train.output={output}", "--set", f"train.checkpoint_every={STATE_STEP}")
        command("wdstream.train", work / f"{name}.yaml", *settings)
        expected["digest"][name] = [f"{line['step']} {line['sha256']}" for line in read_lines(output / "steps.jsonl")]
        expected["losses"][name] = [line["loss"] for line in read_lines(output / "metrics.jsonl")]
        state[name] = next(line["stream"] for line in read_lines(output / "states.jsonl"))
    return expected, state


def resumed(work: Path, state: Mapping[str, Any]) -> list[str]:
    """Digest lines of a plan's next steps, by its public loader continued from a saved state."""
    from wdstream import Plan, Shards, TilingPolicy, load_family

    tree = configurations(work)["planned"]
    plan = Plan(
        Shards.open(work / "pages"),
        load_family(work / "qwen2_5_vl"),
        TilingPolicy(**tree["tiling"]),
        **{name: value for name, value in tree["data"].items() if name != "train"},
    )
    with plan.loader(state=state, workers=0) as loader:
        # A rank's packs come in the order of its share, a step's digest is over all of them in plan order.
        packs = sorted(
            (batch["step"], batch["packs"][0], pack_digest(batch))
            for _, batch in zip(range(2 * STATE_STEP), loader, strict=False)
        )
    steps = {step: "".join(digest for number, _, digest in packs if number == step) for step, _, _ in packs}
    return [f"{step} {hashlib.sha256(text.encode()).hexdigest()}" for step, text in steps.items()]


def pack_digest(batch: Any) -> str:
    """sha256 over ids, labels, positions and pixels of a batch of one pack, written here a second time on purpose."""
    length = sum(batch["lengths"][0])
    arrays = {name: batch[name][..., 0, :length].numpy() for name in ("input_ids", "labels", "position_ids")}
    arrays |= {name: batch[name][tuple(map(slice, shape))].numpy() for name, shape in batch["pixel_shapes"][0].items()}
    content = hashlib.sha256()
    for name in sorted(arrays):
        content.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        content.update(np.ascontiguousarray(arrays[name]).data)
    return content.hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def main() -> None:
    """Record; with --out, also continue from the states that are in tests/golden."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for expected.json and state.json")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        expected, state = record(Path(folder))
        if out != HERE:
            kept = json.loads((HERE / "state.json").read_text(encoding="utf-8"))["planned"]
            # as it was written before digests of the index's columns were part of a plan's fingerprints
            names = kept["fingerprints"].keys() - {"columns"}
            before = {**kept, "fingerprints": {name: kept["fingerprints"][name] for name in sorted(names)}}
            lines = [resumed(Path(folder), state) for state in (kept, before)]
            (out / "resumed.json").write_text(json.dumps(lines), encoding="utf-8")
    for name, tree in (("expected.json", expected), ("state.json", state)):
        (out / name).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
