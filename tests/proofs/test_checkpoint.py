"""A checkpoint that is not whole is refused, by the doctor and by training alike; one that only looks odd is not.

Spans: proofs, train, families, text.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tests.helpers import checkpoints as variants
from wdstream.config.schema import Config
from wdstream.errors import WdstreamError
from wdstream.families.registry import load_family
from wdstream.proofs.doctor import check_checkpoint, run_doctor
from wdstream.train.engine import open_engine

Variant = Callable[[Path], None]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def make_config(path: Path, **model: Any) -> Config:
    return Config.model_validate({"model": {"path": str(path), **model}, "data": {"train": [{"path": "none"}]}})


def train_start(path: Path, **model: Any) -> torch.nn.Module:
    """What training does before its first step with a model folder."""
    config = make_config(path, **model)
    return open_engine(config, Accelerator(cpu=True), load_family(path)).model


LAYER = "model.language_model.layers.2.input_layernorm.weight"
REFUSED: dict[Variant, str] = {
    variants.no_preproc: r"model: no settings of an image processor there \(preprocessor_config.json, or",
    variants.tok_bigger: r"1,044 tokens, and the embedding 1,024 rows: <\|doc_0\|>, .* and 14 more would have none",
    variants.tok_loc: r"1,044 tokens, and the embedding 1,024 rows: <loc_0>, .* and 14 more would have none",
    variants.missing_layer: rf"model: the checkpoint lacks 12 weights of the model, .*: {LAYER}, .* and 6 more",
    variants.untied_missing: r"lacks 1 weight of the model.*: lm_head.weight; .* is tie_word_embeddings wrong",
    variants.nan_weight: r"1 weight with values that are not finite .*: model.*layers.1.mlp.down_proj.weight",
    variants.trunc: r"model/model.safetensors: not a whole safetensors file \(",
    variants.no_tok_json: r"model/tokenizer.json: no such file",
    variants.no_eos: r"tokenizer_config.json names no eos_token that the tokenizer knows \(found None\)",
    variants.no_resize: r"switch do_resize off",
    variants.no_norm: r"switch do_normalize off",
    variants.two_heads: r"config.json ties lm_head.weight to model.language_model.embed_tokens.weight, and",
    variants.unexpected: r"1 weight of the checkpoint without a place in the model: model.*layers.3.mlp.up_proj",
    variants.mismatched: r"1 weight of another shape .*up_proj.weight \(checkpoint \(100, 64\), model \(192, 64\)\)",
    variants.lost_part: r"index.json: names 2 files, and model-00002-of-00002.safetensors is not there",
    variants.cut_part: r"model-00002-of-00002.safetensors: not a whole safetensors file",
    variants.cut_index: r"model.safetensors.index.json: not an index of weights",
    variants.swapped_part: r"model-00002-of-00002.safetensors: model.safetensors.index.json says that it holds",
    variants.doubled_weight: r"model-00002-of-00002.safetensors: holds .*, and model-00001-of-00002.safetensors",
    variants.two_sets: r"model: weights twice, in model.safetensors and in model-00001-of-00002.safetensors, mod",
    variants.outside_part: r"index.json: names '../outside.safetensors', which is not a file of this folder",
    variants.piped_weights: r"index.json: names 2 files, and model-00002-of-00002.safetensors is not there",
    variants.piped_tokenizer: r"model/tokenizer.json: not a file but a folder, a pipe or a device",
    variants.whole_numbers: r"1 weight stored as I8, and config.json has no quantization_config .*0.mlp.up_proj",
    variants.truth_values: r"1 weight stored as BOOL, and config.json has no quantization_config .*0.mlp.up_proj",
    variants.too_large: r"1 weight with values that are not finite .*: model.*layers.0.mlp.up_proj.weight",
    variants.pickled: r"model/pytorch_model.bin: weights as a pickle, which is a program and is not run; if you",
    variants.no_weights: r"model: no weights there \(model.safetensors, or",
    variants.adapter: r"adapter_config.json: the folder holds an adapter",
    variants.random_merges: r"tokenizer.json: model.dropout is 0.1",
}


@pytest.mark.parametrize("variant", REFUSED, ids=lambda variant: variant.__name__)
def test_what_is_not_whole_is_refused(variant: Variant, folder: Path) -> None:
    variant(folder)
    found = run_doctor(folder).checks
    failed = [check.found for check in found if not check.ok]
    assert failed and re.search(REFUSED[variant], failed[0])
    with pytest.raises(WdstreamError, match=REFUSED[variant]) as caught:
        train_start(folder)
    assert "\n" not in str(caught.value)


MAX_PIXELS: dict[Variant, int] = {
    variants.v5_saved: 401_408,
    variants.size_dict: 401_408,
    variants.size_conflict: 401_408,
    variants.slow_type: 200_704,
    variants.hub_flat: 12_845_056,
    variants.eos_dict: 12_845_056,
    variants.pad_eos: 12_845_056,
    variants.no_pad: 12_845_056,
    variants.vocab_padded: 12_845_056,
    variants.template_in_tok: 12_845_056,
    variants.bilinear: 12_845_056,
    variants.split_weights: 12_845_056,
    variants.repeated_weight: 12_845_056,
    variants.index_of_one: 12_845_056,
}


@pytest.mark.parametrize("variant", MAX_PIXELS, ids=lambda variant: variant.__name__)
def test_what_is_only_written_otherwise_is_not(variant: Variant, folder: Path, tiny_model: Path) -> None:
    variant(folder)
    family = load_family(folder)
    assert family.max_pixels == MAX_PIXELS[variant]
    assert family.encoder.chat_template
    assert check_checkpoint(family).found == "all 68 weights are there, of the right shape, and finite"
    ours, theirs = (dict(train_start(path).named_parameters()) for path in (folder, tiny_model))
    for name in ours.keys() | theirs.keys():
        assert torch.equal(ours[name][: len(theirs[name])], theirs[name]), name


def test_equal_heads_are_tied(folder: Path) -> None:
    def repeat(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**found, "lm_head.weight": found["model.embed_tokens.weight"].clone()}

    variants.edit_weights(folder, repeat)
    assert check_checkpoint(load_family(folder)).ok
    model: Any = train_start(folder)
    assert model.get_parameter("lm_head.weight") is model.get_parameter("model.language_model.embed_tokens.weight")


def test_weights_that_may_be_missing(folder: Path) -> None:
    variants.missing_layer(folder)
    variants.unexpected(folder)
    with pytest.raises(WdstreamError, match=r"lacks 12 weights.*\n.*1 weight of the checkpoint without a place"):
        train_start(folder)
    with pytest.raises(WdstreamError, match="lacks 5 weights"):
        train_start(folder, allow_missing=["*.layers.2.self_attn.*"], allow_unexpected=["*.layers.3.*"])
    allowed: Any = {"allow_missing": ["*.layers.2.*"], "allow_unexpected": ["*.layers.3.*"]}
    first, second = (dict(train_start(folder, **allowed).named_parameters()) for _ in range(2))
    assert first.keys() == second.keys()
    report = run_doctor(folder, **allowed)
    assert report.ok, [check for check in report.checks if not check.ok]


WRONG: list[Any] = [None, "x", -1, 0, [], {}, 1e308, 10**30]
PLACES = [
    ("config.json", "text_config", "num_attention_heads"),
    ("config.json", "text_config", "num_key_value_heads"),
    ("config.json", "text_config", "layer_types"),
    ("config.json", "vision_config", "depth"),
    ("config.json", "vision_config", "fullatt_block_indexes"),
    ("config.json", "vision_config"),
    ("config.json", "text_config"),
    ("preprocessor_config.json", "patch_size"),
    ("preprocessor_config.json", "max_pixels"),
    ("preprocessor_config.json", "image_std"),
    ("tokenizer_config.json", "eos_token"),
    ("tokenizer_config.json", "chat_template"),
    ("tokenizer.json", "added_tokens"),
    ("tokenizer.json", "model"),
]


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_a_value_of_a_wrong_type_is_one_line(place: tuple[str, ...], folder: Path) -> None:
    """Or no harm, where nothing reads it so: whatever comes out is ours, and names the folder."""
    file, *keys, last = place
    whole = json.loads((folder / file).read_text(encoding="utf-8"))
    num_refused = 0
    for wrong in WRONG:
        tree = json.loads(json.dumps(whole))
        inner = tree
        for key in keys:
            inner = inner[key]
        inner[last] = wrong
        (folder / file).write_text(json.dumps(tree), encoding="utf-8")
        try:
            check = check_checkpoint(load_family(folder))
        except WdstreamError as error:
            num_refused += 1
            assert "\n" not in str(error) and ("model" in str(error) or "CostModel" in str(error))
        else:
            num_refused += not check.ok
    assert num_refused >= (0 if last in ("chat_template", "fullatt_block_indexes") else 2)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_cut_off_is_named(file: str, folder: Path) -> None:
    whole = (folder / file).read_bytes()
    for content in (
        whole[:-3],
        whole[: len(whole) // 2],
        b"[]",
        b"null",
        b"3",
        b"\0" * 40,
        b"[" * 100_000,
        b"\xff\xfe",
    ):
        (folder / file).write_bytes(content)
        with pytest.raises(WdstreamError, match=f"model/{file}: ") as caught:
            load_family(folder)
        assert "\n" not in str(caught.value)


def test_weights_that_may_not_be_read_are_not_called_torn(folder: Path) -> None:
    (folder / "model.safetensors").chmod(0)
    command = [sys.executable, "-m", "wdstream", "doctor", str(folder)]
    if os.geteuid() == 0:  # who may read all that is not forbidden to root
        if shutil.which("setpriv") is None:
            pytest.skip("root, and no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Permission denied" in done.stdout and "not a whole safetensors file" not in done.stdout
