"""Variants of a tiny Qwen2.5-VL checkpoint, as people have them: saved by other versions, edited, cut off."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "model.safetensors"
OLD_LIMIT = 401_408
"""Pixels: 512 x 28 x 28, as in a published preprocessor_config.json."""


def edit(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None takes a key out."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in {**tree, **changes}.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Write what `change` makes of the weights."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


def add_tokens(folder: Path, form: str, *, is_special: bool) -> None:
    """Twenty tokens more than the embedding has rows; `form` has {} for their number."""
    file = folder / "tokenizer.json"
    tree = json.loads(file.read_text(encoding="utf-8"))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": is_special}
    first = text_config(folder)["vocab_size"]
    tree["added_tokens"] += [{"id": first + n, "content": form.format(n), **flags} for n in range(20)]
    file.write_text(json.dumps(tree), encoding="utf-8")


def text_config(folder: Path) -> dict[str, Any]:
    """text_config of config.json."""
    tree: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["text_config"]
    return tree


def no_preproc(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def tok_bigger(folder: Path) -> None:
    add_tokens(folder, "<|doc_{}|>", is_special=True)


def tok_loc(folder: Path) -> None:
    add_tokens(folder, "<loc_{}>", is_special=False)


def missing_layer(folder: Path) -> None:
    edit_weights(folder, lambda found: {n: w for n, w in found.items() if "layers.2." not in n or "visual" in n})


def untied_missing(folder: Path) -> None:
    edit(folder / "config.json", tie_word_embeddings=False)


def nan_weight(folder: Path) -> None:
    def spoil(found: dict[str, Tensor]) -> dict[str, Tensor]:
        found[next(name for name in found if "layers.1.mlp" in name)][0, 0] = float("nan")
        return found

    edit_weights(folder, spoil)


def trunc(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def no_tok_json(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def no_eos(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", eos_token=None)


def no_resize(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", do_resize=False)


def no_norm(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", do_normalize=False)


def two_heads(folder: Path) -> None:
    """Tied by config.json, and two that differ in the weights."""
    edit_weights(folder, lambda found: {**found, "lm_head.weight": found["model.embed_tokens.weight"] + 1})


def unexpected(folder: Path) -> None:
    edit_weights(folder, lambda found: {**found, "model.layers.3.mlp.up_proj.weight": torch.zeros(192, 64)})


def mismatched(folder: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda found: {**found, name: found[name][:100].clone()})


def split_weights(folder: Path) -> None:
    """Two files and their index."""
    found = load_file(folder / WEIGHTS)
    names = sorted(found)
    parts = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, inside in parts.items():
        save_file({name: found[name] for name in inside}, folder / file, metadata={"format": "pt"})
    places = {name: file for file, inside in parts.items() for name in inside}
    index = {"metadata": {"total_size": (folder / WEIGHTS).stat().st_size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / WEIGHTS).unlink()


def lost_part(folder: Path) -> None:
    split_weights(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def cut_part(folder: Path) -> None:
    split_weights(folder)
    part = folder / "model-00002-of-00002.safetensors"
    part.write_bytes(part.read_bytes()[:-1])


def doubled_weight(folder: Path) -> None:
    """One weight in both files, and not the same."""
    split_weights(folder)
    first, second = (folder / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    name, weight = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: weight + 1}, second, metadata={"format": "pt"})


def repeated_weight(folder: Path) -> None:
    """One weight in both files, and the same."""
    split_weights(folder)
    first, second = (folder / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    name, weight = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: weight}, second, metadata={"format": "pt"})


def two_sets(folder: Path) -> None:
    """One file of all weights, and two with their index."""
    whole = (folder / WEIGHTS).read_bytes()
    split_weights(folder)
    (folder / WEIGHTS).write_bytes(whole)


def index_of_one(folder: Path) -> None:
    """One file, and an index that names it."""
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def outside_part(folder: Path) -> None:
    split_weights(folder)
    shutil.move(folder / "model-00002-of-00002.safetensors", folder.parent / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002-of-00002", "../outside"), encoding="utf-8")


def whole_numbers(folder: Path) -> None:
    """A projection in 8 bits without its scale, and a config.json that says nothing of it."""
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda found: {**found, name: (found[name] * 50).to(torch.int8)})


def truth_values(folder: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda found: {**found, name: found[name] > 0})


def too_large(folder: Path) -> None:
    """Finite in float64 alone."""
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda found: {**found, name: torch.full((192, 64), 1e300, dtype=torch.float64)})


def piped_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


def piped_weights(folder: Path) -> None:
    split_weights(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    os.mkfifo(folder / "model-00002-of-00002.safetensors")


def cut_index(folder: Path) -> None:
    split_weights(folder)
    index = folder / "model.safetensors.index.json"
    index.write_bytes(index.read_bytes()[:-20])


def swapped_part(folder: Path) -> None:
    split_weights(folder)
    shutil.copyfile(folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "another"}', encoding="utf-8")


def random_merges(folder: Path) -> None:
    file = folder / "tokenizer.json"
    tree = json.loads(file.read_text(encoding="utf-8"))
    edit(file, model={**tree["model"], "dropout": 0.1})


def v5_saved(folder: Path) -> None:
    """As transformers 5 saves it: settings of all processors in one file."""
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    settings["size"] = {"shortest_edge": settings.pop("min_pixels"), "longest_edge": OLD_LIMIT}
    del settings["max_pixels"], settings["processor_class"]
    video = {**settings, "video_processor_type": "Qwen2VLVideoProcessor"}
    both = {"image_processor": settings, "processor_class": "Qwen2_5_VLProcessor", "video_processor": video}
    (folder / "processor_config.json").write_text(json.dumps(both), encoding="utf-8")


def size_dict(folder: Path) -> None:
    size = {"shortest_edge": 3136, "longest_edge": OLD_LIMIT}
    edit(folder / "preprocessor_config.json", min_pixels=None, max_pixels=None, size=size)


def size_conflict(folder: Path) -> None:
    size = {"shortest_edge": 3136, "longest_edge": 12_845_056}
    edit(folder / "preprocessor_config.json", max_pixels=OLD_LIMIT, size=size)


def slow_type(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", image_processor_type="Qwen2VLImageProcessorFast", max_pixels=200_704)


def hub_flat(folder: Path) -> None:
    """config.json without text_config, and names of weights, as they were published."""
    file = folder / "config.json"
    tree = json.loads(file.read_text(encoding="utf-8"))
    text = tree.pop("text_config")
    rope = text.pop("rope_parameters")
    tree |= {key: value for key, value in text.items() if key not in ("model_type", "layer_types", "dtype")}
    tree |= {"rope_theta": rope["rope_theta"], "torch_dtype": "bfloat16", "transformers_version": "4.41.2"}
    tree["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    tree.pop("dtype", None)
    vision = tree["vision_config"]
    vision.pop("rope_parameters", None)
    vision.pop("dtype", None)
    vision |= {"spatial_patch_size": 14, "in_chans": vision.pop("in_channels")}
    file.write_text(json.dumps(tree), encoding="utf-8")

    def rename(found: dict[str, Tensor]) -> dict[str, Tensor]:
        pairs = (("model.visual.", "visual."), ("model.language_model.", "model."))
        return {_replaced(name, pairs): weight for name, weight in found.items()}

    edit_weights(folder, rename)


def _replaced(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        name = name.replace(old, new)
    return name


def eos_dict(folder: Path) -> None:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    edit(folder / "tokenizer_config.json", eos_token={"__type": "AddedToken", "content": "<|im_end|>", **flags})


def pad_eos(folder: Path) -> None:
    text = text_config(folder)
    edit(folder / "tokenizer_config.json", pad_token="<|im_end|>")
    edit(folder / "config.json", text_config={**text, "pad_token_id": text["eos_token_id"]})


def no_pad(folder: Path) -> None:
    text = text_config(folder)
    del text["pad_token_id"]
    edit(folder / "tokenizer_config.json", pad_token=None)
    edit(folder / "config.json", text_config=text)


def vocab_padded(folder: Path) -> None:
    """More rows than tokens, as for tables that are a multiple of something."""
    text = text_config(folder)
    edit(folder / "config.json", text_config={**text, "vocab_size": text["vocab_size"] + 128})

    def pad(found: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = {
            name: torch.cat([weight, torch.zeros(128, weight.shape[1])])
            for name, weight in found.items()
            if "embed_tokens" in name or "lm_head" in name
        }
        return found | rows

    edit_weights(folder, pad)


def template_in_tok(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    edit(folder / "tokenizer_config.json", chat_template=template.read_text(encoding="utf-8"))
    template.unlink()


def bilinear(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", resample=2)
