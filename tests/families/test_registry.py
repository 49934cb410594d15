"""Finding a checkpoint's family: quick, without torch, and with errors that say what to do."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.hugging_face import load_both
from tests.helpers.published import copy_settings
from wdstream.batches.sample import build_sample
from wdstream.errors import ConfigError, FamilyError
from wdstream.families.reference.processor import processor_ids
from wdstream.families.registry import FAMILIES, REFUSED_FAMILIES, family_class, load_family
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.testing import make_document


@pytest.fixture
def copy(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint's settings, without its weights, to spoil."""
    ignored = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(tiny_models["qwen2_5_vl"], tmp_path / "model", ignore=ignored))


def edit(path: Path, **changes: Any) -> None:
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree.update(changes)
    path.write_text(json.dumps(tree), encoding="utf-8")


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_family_is_read_from_config(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(str(tiny_models[name]))
    assert family.name == name
    assert family.size_multiple == {"qwen3_vl": 32}.get(name, 28)
    assert (family.min_pixels, family.max_pixels) == ((65536, 16777216) if name == "qwen3_vl" else (3136, 12845056))
    assert family.prefix_tokens == 0
    assert family.cost.per_token > 0 and family.cost.per_image_patch_squared > 0


def test_loading_is_quick_since_it_imports_little(tiny_models: dict[str, Path]) -> None:
    """Less than a second: what that depends on are the modules, torch's above all."""
    code = (
        "import sys\n"
        "from wdstream import load_family\n"
        f"load_family({str(tiny_models['qwen2_5_vl'])!r})\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "print(len(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 350  # 233 today


def test_fingerprints_follow_what_changes_a_length(copy: Path) -> None:
    first = load_family(copy)
    assert load_family(copy).fingerprint == first.fingerprint
    edit(copy / "preprocessor_config.json", max_pixels=1_000_000)
    second = load_family(copy)
    assert second.fingerprint != first.fingerprint
    assert second.text_fingerprint == first.text_fingerprint
    assert load_family(copy, name="qwen2_vl").fingerprint != second.fingerprint


def test_settings_may_be_in_processor_config(copy: Path) -> None:
    settings = json.loads((copy / "preprocessor_config.json").read_text(encoding="utf-8"))
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").write_text(json.dumps({"image_processor": settings}), encoding="utf-8")
    assert load_family(copy).max_pixels == 12845056


def test_published_flat_config_is_understood(copy: Path) -> None:
    """Checkpoints published before transformers 5 hold the language model's settings at the top of config.json."""
    tree = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    text = tree.pop("text_config")
    nested_cost = load_family(copy).cost
    (copy / "config.json").write_text(json.dumps({**text, **tree}), encoding="utf-8")
    assert load_family(copy).cost == nested_cost


def test_refusals(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match=r"no config\.json there"):
        load_family(tmp_path / "nothing")
    with pytest.raises(FamilyError, match=r"unknown model family 'bert'; known: .*qwen2_5_vl, qwen2_vl, qwen3_vl"):
        load_family(copy, name="bert")
    edit(copy / "config.json", model_type="mllama")
    with pytest.raises(FamilyError, match="'mllama' cannot be packed: its images enter by cross-attention"):
        load_family(copy)
    edit(copy / "config.json", model_type="mystery", auto_map={"AutoModel": "code.Model"})
    with pytest.raises(FamilyError, match=r"'mystery' \(its config\.json asks for remote code, whose lengths"):
        load_family(copy)
    (copy / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(FamilyError, match="not valid JSON"):
        load_family(copy)


@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_a_processor_of_its_own_code_is_refused(file: str, copy: Path) -> None:
    if not (copy / file).exists():
        (copy / file).write_text("{}", encoding="utf-8")
    edit(copy / file, auto_map={"AutoProcessor": "someone/model--processing.MyProcessor"})
    with pytest.raises(
        FamilyError, match=rf"{file} asks for someone/model--processing\.MyProcessor, a processor of the"
    ):
        load_family(copy)


def test_code_that_transformers_has_by_now_is_only_a_hint(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """PaddleOCR-VL as it was published: all three files point to code of its own, which transformers took over."""
    copy = copy_settings(tiny_models["paddleocr_vl"], tmp_path / "model")
    expected = load_family(copy).fingerprint
    edit(copy / "config.json", auto_map={"AutoModelForCausalLM": "modeling.PaddleOCRVLForConditionalGeneration"})
    for file, names in {
        "preprocessor_config.json": {"AutoImageProcessor": "image_processing.PaddleOCRVLImageProcessor"},
        "processor_config.json": {"AutoProcessor": "processing_paddleocr_vl.PaddleOCRVLProcessor"},
    }.items():
        if not (copy / file).exists():
            (copy / file).write_text("{}", encoding="utf-8")
        edit(copy / file, auto_map=names)
    family, processor = load_both(copy)
    assert family.fingerprint == expected
    assert (type(family).__name__, type(processor).__name__) == ("PaddleOcrVL", "PaddleOCRVLProcessor")
    page = make_document("k", [(90, 60), "text"])
    assert build_sample(page, family).input_ids.tolist() == [
        *processor_ids(processor, family, page),
        family.eos_id,
    ]


def test_refusals_by_name() -> None:
    assert {"mllama", "idefics", "florence2", "internvl_chat"} <= set(REFUSED_FAMILIES)
    assert REFUSED_FAMILIES.keys().isdisjoint(FAMILIES)
    for name, reason in REFUSED_FAMILIES.items():
        with pytest.raises(FamilyError, match=f"family '{name}' cannot be packed: {reason}"):
            family_class(
                name, ModelFolder(path=Path("m"), config={}, image_settings={}, processor_settings={}, last_read={})
            )


def test_settings_that_do_not_fit_are_refused(copy: Path) -> None:
    edit(copy / "preprocessor_config.json", patch_size=16)
    with pytest.raises(FamilyError, match=r"patch_size is 14 in config\.json \(vision_config\) and 16"):
        load_family(copy)
    edit(copy / "preprocessor_config.json", patch_size=14, do_normalize=False)
    with pytest.raises(FamilyError, match="switch do_normalize off"):
        load_family(copy)
    edit(copy / "preprocessor_config.json", do_normalize=True)
    edit(copy / "config.json", image_token_id=5)
    with pytest.raises(FamilyError, match=r"<\|image_pad\|> is 5 in config\.json and \d+ in tokenizer\.json"):
        load_family(copy)


def test_a_tokenizer_of_another_model_is_refused(copy: Path) -> None:
    tree = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    tree["added_tokens"] = [token for token in tree["added_tokens"] if token["content"] != "<|image_pad|>"]
    (copy / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(FamilyError, match=r"needs the token <\|image_pad\|>, which tokenizer\.json lacks"):
        load_family(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"tokenizer\.json: no such file"):
        load_family(copy)


def test_missing_model_settings_are_named(copy: Path) -> None:
    tree = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    del tree["text_config"]["hidden_size"]
    (copy / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(FamilyError, match=r"config\.json lacks 'hidden_size' of the language model"):
        load_family(copy)
