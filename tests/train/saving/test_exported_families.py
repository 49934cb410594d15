"""Every family, trained in every way: plain transformers and peft write what the run wrote, elsewhere.

Spans: train, families.
"""

import shutil
from pathlib import Path

import pytest

from tests.helpers.exported import read_by_plain_models, written_by_run
from tests.helpers.training import Workplace
from wdstream.families.registry import FAMILIES, load_family
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.runs.record import read_run
from wdstream.testing import make_pages
from wdstream.train.model.new_tokens import grow_model
from wdstream.train.saving.export_run import export_run

NEW = "<stamp>"
KINDS = {
    "full": "null",
    "lora": "{kind: lora, r: 4}",
    "rslora": "{kind: lora, r: 4, rslora: true, parts: [language, vision]}",
    "saved": "{kind: lora, r: 4, modules_to_save: [projector, embed_tokens, lm_head]}",
    "dora": "{kind: lora, r: 4, dora: true, parts: [language, vision]}",
    "qlora": "{kind: qlora, r: 4}",
    "tokens": f"{{kind: lora, r: 4, train_tokens: ['{NEW}']}}",
}
SETTINGS = (
    *("data.max_patches=8192", "data.global_batch_size=1", "tiling={kind: none}"),
    *("train.max_steps=2", "train.eval_every=2", "train.lr=0.05", "train.generate={max_pages: 2, max_new_tokens: 6}"),
)
LONG = ("llava",)
"""Families of which a page has more than 1,536 tokens."""
SHORT = ("paligemma2",)
"""Families whose tiny model takes documents of at most 512 tokens: pages have the beginning of their text."""
CONFIG = """\
model: {{path: {root}/model, dtype: float32}}
data: {{train: [{{path: {root}/shards}}], eval: [{{name: held_out, path: {root}/shards-eval}}], workers: 1}}
"""
LOADED = """\
```python
from transformers import AutoModelForImageTextToText
model = AutoModelForImageTextToText.from_pretrained("THIS_FOLDER", dtype="float32")
```
"""


def make_workplace(root: Path, model: Path, *, most: int | None) -> Workplace:
    """The family's tiny model with a token more, and shards of pages whose text, up to `most` characters, has it."""
    grow_model(model, root / "model", [NEW])
    for name, num_pages, seed in (("shards", 4, 0), ("shards-eval", 2, 1)):
        raw = make_pages(root / f"raw-{name}", num_pages=num_pages, seed=seed)
        for path in raw.glob("*.txt"):
            path.write_text(path.read_text().replace(" ", f" {NEW}", 3)[:most])
        make_shards(raw, root / name, options=MakeShardsOptions(tokenizer=root / "model", workers=1))
    (root / "cfg.yaml").write_text(CONFIG.format(root=root))
    return Workplace(root)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_models_write_what_the_run_wrote(family: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path, tiny_models[family], most=200 if family in SHORT else None)
    folders: dict[str, list[Path]] = {}
    length = f"data.sequence_length={4096 if family in LONG else 1536}"
    attn = f"model.attn={'sdpa' if 'sdpa' in load_family(tiny_models[family]).attention else 'eager'}"
    for kind, adapter in KINDS.items():
        run = tmp_path / kind
        assert workplace.train(run, *SETTINGS, length, attn, f"train.adapter={adapter}") == 0, kind
        folders[kind] = [run / "final", tmp_path / f"{kind}-exported"]
        export_run(run, folders[kind][-1])
        if adapter != "null":
            folders[kind].append(tmp_path / f"{kind}-merged")
            export_run(run, folders[kind][-1], merge=True)
    base = shutil.copytree(tmp_path / "model", tmp_path / "base")
    (base / "README.md").write_text(LOADED)
    every = [base, *(folder for of_kind in folders.values() for folder in of_kind)]
    read = read_by_plain_models(read_run(tmp_path / "full").config, every, tmp_path / "plain")
    for kind, of_kind in folders.items():
        assert [read[folder].texts for folder in of_kind] == [written_by_run(tmp_path / kind, 2)] * len(of_kind), kind
        first, *others = (read[folder].logits for folder in of_kind)
        exact = 2e-3 if kind == "qlora" else 1e-4  # 4-bit layers of bitsandbytes compute in bfloat16 on some CPUs
        assert others == [pytest.approx(first, rel=exact)] * len(others), kind
        if kind != "qlora":  # whose base is another one
            assert first != pytest.approx(read[base].logits, rel=1e-3), kind  # or a lost adapter would not show
