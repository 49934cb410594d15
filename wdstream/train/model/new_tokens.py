"""A model folder with more tokens: a grown tokenizer, and rows for it in the embedding and the output head.

Index, plans and training then use the new folder as any other: nothing else knows of it. Of the weights only the tables
of tokens change, and of their rows only the new ones; every other file and tensor is that of the folder before.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from wdstream.errors import ConfigError, FamilyError, load_json
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.proofs.checkpoint import require_checkpoint
from wdstream.proofs.weight_files import WEIGHTS_INDEX, require_weight_files, weight_files
from wdstream.storage.atomic import atomic_folder, bring_file
from wdstream.train.saving.export_run import require_new

RowInit = Literal["mean", "pieces"]
TABLES = ("embed_tokens.weight", "embed_tokens_per_layer.weight", "lm_head.weight")
"""Ends of the names of the weights that have a row for each token."""
OF_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}
TEMPLATES = "additional_chat_templates"
"""A folder that transformers reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedTokens:
    """What was added.

    Attributes:
        ids: of the new tokens.
        rows: of the embedding, before and after.
        tables: names of the weights that have new rows.
    """

    ids: Mapping[str, int]
    rows: tuple[int, int]
    tables: tuple[str, ...]

    @property
    def text(self) -> str:
        """In one line, for people."""
        ids = ", ".join(f"{token} = {number}" for token, number in self.ids.items())
        before, after = self.rows
        rows = f"{before:,} rows as before" if before == after else f"{after:,} rows, of {before:,} before,"
        return f"{ids}; {rows} in {', '.join(self.tables)}"


def grow_model(
    model: Path,
    out: Path,
    tokens: Sequence[str],
    *,
    is_special: bool = False,
    init: RowInit = "mean",
    multiple: int = 1,
) -> AddedTokens:
    """Write the folder `out`: that of `model` with more tokens; it appears whole or not at all.

    Args:
        model: a model folder.
        out: what to write; it must not exist, or be empty.
        tokens: to add, in this order.
        is_special: text does not form them, unless `text.allow_tokens` names them; decoders may leave them out.
        init: rows begin as the mean of all rows, or of those of the tokens that wrote the same text before.
        multiple: where the tables grow, their rows become a multiple of this.

    Raises:
        ConfigError: a token is there already, or cannot be one; `out` is not empty.
        FamilyError: the folder is not a whole model, or its tables are of a form that is not known.
    """
    require_new(out)
    require_weight_files(model)
    family = load_family(model)
    _refuse_tokens(tokens, family)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    pieces = {token: tokenizer.encode(token, add_special_tokens=False).ids for token in tokens}
    ids = {token: family.encoder.vocab_size + place for place, token in enumerate(tokens)}
    refuse_taken_ids(ids, family)
    tables = _find_tables(model)
    before = next(iter(tables.values()))
    needed = max(before, max(ids.values()) + 1)
    after = before if needed == before else -(-needed // multiple) * multiple
    begin = {number: pieces[token] if init == "pieces" else None for token, number in ids.items()}
    with atomic_folder(out) as folder:
        _copy_settings(model, folder)
        _grow_tokenizer(folder, ids, is_special=is_special)
        _grow_settings(folder, before, after)
        _grow_weights(model, folder, begin, after, known=family.encoder.vocab_size)
        _check(folder, ids)
    return AddedTokens(ids=ids, rows=(before, after), tables=tuple(tables))


def _refuse_tokens(tokens: Sequence[str], family: Family) -> None:
    if not tokens:
        raise ConfigError("--token: name at least one token to add")
    for token in tokens:
        if not token.strip() or token != token.strip():
            raise ConfigError(f"--token: {token!r}: a token has letters, and no space at its ends")
        if tokens.count(token) > 1:
            raise ConfigError(f"--token: {token} is named twice")
        if (number := family.encoder.find_id(token)) is not None:
            raise ConfigError(f"--token: {family.model_dir}: {token} is there already, with the id {number}")


def refuse_taken_ids(ids: Mapping[str, int], family: Family) -> None:
    """Refuse ids that the model uses, though its tokenizer has no token for them.

    Raises:
        FamilyError: names them.
    """
    used = {family.image_id, family.eos_id, family.pad_id, *family.opening_ids, *family.structural_ids}
    if taken := [f"{token} would be {number}" for token, number in ids.items() if number in used]:
        raise FamilyError(
            f"{family.model_dir}: the model uses ids beyond its tokenizer for something else ({', '.join(taken)}); "
            "name these ids in its tokenizer first"
        )


def _find_tables(model: Path) -> dict[str, int]:
    """Names of the weights with a row for each token, the embedding first, and how many rows they have."""
    found: dict[str, int] = {}
    for file in weight_files(model):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  (a file, not a dict)
                if name.endswith(TABLES):
                    found[name] = weights.get_slice(name).get_shape()[0]
    tables = dict(sorted(found.items(), key=lambda entry: not entry[0].endswith(TABLES[0])))
    if not tables or len(set(tables.values())) > 1:
        raise FamilyError(f"{model}: expected an embedding and an output head with equal rows, found {tables}")
    return tables


def _copy_settings(model: Path, folder: Path) -> None:
    """Everything but weights, of which a second copy in another form would lack the new rows."""
    for path in sorted(model.iterdir()):
        if path.is_file() and path.suffix not in OF_WEIGHTS:
            shutil.copy2(path, folder / path.name)
        elif path.name == TEMPLATES and path.is_dir():
            shutil.copytree(path, folder / TEMPLATES)


def _grow_tokenizer(folder: Path, ids: Mapping[str, int], *, is_special: bool) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    entries = [AddedToken(token, special=is_special, normalized=False) for token in ids]
    (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)(entries)
    tokenizer.save(str(folder / "tokenizer.json"))
    fields = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": is_special}
    listed = {str(number): {"content": token, **fields} for token, number in ids.items()}
    for name, key, more in (
        ("tokenizer_config.json", "added_tokens_decoder", listed),
        ("added_tokens.json", None, dict(ids)),
    ):
        tree = _read(folder / name)
        place = tree if key is None else tree.get(key)
        if place:  # what other programs read in place of tokenizer.json, where the model has it
            place.update(more)
            _write(folder / name, tree)


def _grow_settings(folder: Path, before: int, after: int) -> None:
    """In config.json, of the language model and, where it says the same, of the whole."""
    tree = _read(folder / "config.json")
    text = tree.get("text_config") or tree
    text.setdefault("vocab_size", before)
    for settings in (tree, text):
        settings.update(
            {key: after for key, value in settings.items() if key.startswith("vocab_size") and value == before}
        )
    _write(folder / "config.json", tree)


def _grow_weights(
    model: Path, folder: Path, begin: Mapping[int, Sequence[int] | None], after: int, *, known: int
) -> None:
    grown_by = 0
    for file in weight_files(model):
        with safe_open(file, framework="pt") as weights:
            tables = [name for name in weights.keys() if name.endswith(TABLES)]  # noqa: SIM118
            metadata = weights.metadata()
        if not tables:
            bring_file(file, folder / file.name)
            continue
        state = load_file(file)
        for name in tables:
            old = state[name]
            state[name] = grown_table(old, begin, after, known=known)
            grown_by += (state[name].numel() - old.numel()) * old.itemsize
        save_file(state, folder / file.name, metadata=metadata)
    index = _read(folder / WEIGHTS_INDEX)
    if "total_size" in index.get("metadata", {}):
        index["metadata"]["total_size"] += grown_by
        _write(folder / WEIGHTS_INDEX, index)


def grown_table(table: Tensor, begin: Mapping[int, Sequence[int] | None], rows: int, *, known: int) -> Tensor:
    """A table with a row for each new token.

    Args:
        table: a row per token (V, H), of floating point.
        begin: ids of the new tokens; each with the rows whose mean it begins as, or None for the mean of all.
        rows: of the result, at least V; those that are new and of no token begin as the mean of all.
        known: how many of the rows had a token.
    """
    mean = table[:known].float().mean(dim=0)
    grown = mean.to(table.dtype).expand(rows, -1).clone()
    grown[: len(table)] = table
    for number, pieces in begin.items():
        grown[number] = (table[list(pieces)].float().mean(dim=0) if pieces else mean).to(table.dtype)
    return grown


def _check(folder: Path, ids: Mapping[str, int]) -> None:
    """As wdstream and as plain transformers read the folder."""
    from transformers import AutoTokenizer

    family = load_family(folder)
    require_checkpoint(family)
    plain = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for token, number in ids.items():
        found = family.encoder.find_id(token), plain.convert_tokens_to_ids(token)
        if found != (number, number):
            raise FamilyError(f"{folder}: {token} should have the id {number}, and readers find {found}")


def _read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = load_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tree


def _write(path: Path, tree: Mapping[str, object]) -> None:
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
