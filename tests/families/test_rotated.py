"""Pages that a camera turned (EXIF): planned from the index, built, and as the processor reads the upright image.

Spans: make_shards, pipeline, families.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.helpers.hugging_face import load_both
from tests.helpers.published import SPLITTING, copy_settings
from tests.helpers.tiled_pages import tile_page
from wdstream.families.reference.processor import comparable, load_processor, processor_ids
from wdstream.families.registry import FAMILIES
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.pipeline.planned import Plan
from wdstream.shards.reader import Shards
from wdstream.tiling.policy import TilingPolicy

ORIENTATION = 0x0112
SIZE = (130, 310)
QUICK = ("idefics3", "llava", "qwen2_5_vl")
TILINGS = {"untiled": TilingPolicy(kind="none"), "tiled": TilingPolicy(kind="grid", grid=(1, 2), tile_size=112)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same picture under all eight orientations, each with a text."""
    folder = tmp_path_factory.mktemp("raw")
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        Image.fromarray(noise).save(folder / f"page-{orientation}.jpg", exif=exif)
        (folder / f"page-{orientation}.txt").write_text(f"Turned, {orientation}.", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FAMILIES])
def test_planned_is_built_is_the_processors(name: str, raw: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    family, processor = load_both(copy_settings(tiny_models[name], tmp_path / "model"))
    make_shards(raw, tmp_path / "shards", options=MakeShardsOptions(tokenizer=family.model_dir, workers=1))
    shards = Shards.open(tmp_path / "shards")
    for mode, policy in TILINGS.items():
        if family.processor_rules().melts_newlines and mode == "tiled":
            continue  # its processor joins the newlines between tiles with those of their blocks
        settings: Any = {"sequence_length": 20_000, "max_patches": 200_000, "global_batch_size": 1, "epochs": 1}
        plan = Plan(shards, family, policy, seed=0, **settings)
        whole = name in SPLITTING and name != "got_ocr2" and mode == "untiled"
        assert plan.family.is_splitting is whole
        reference = load_processor(plan.family) if whole else processor
        planned = [pack for step in plan.steps() for pack in step.packs]
        with plan.loader(workers=0, prefetch=0) as loader:
            batches = list(loader)
        seen = set()
        for pack, batch in zip(planned, batches, strict=True):
            assert batch["lengths"] == [list(pack.tokens)] and not batch["failures"]
            begin = 0
            for key, length in zip(batch["keys"][0], batch["lengths"][0], strict=True):
                orientation = int(key[-1])
                size = ImageOps.exif_transpose(Image.open(raw / f"{key}.jpg")).size
                assert size == (SIZE if orientation < 5 else SIZE[::-1])
                page = comparable(tile_page(size, f"Turned, {orientation}.", policy), plan.family)
                theirs = [*processor_ids(reference, plan.family, page), plan.family.eos_id]
                assert batch["input_ids"][0, begin : begin + length].tolist() == theirs, (key, mode)
                begin += length
                seen.add(orientation)
        assert seen == set(range(1, 9))
