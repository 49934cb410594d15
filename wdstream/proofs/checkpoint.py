"""Is a checkpoint whole? Its files, its weights by name and shape, and a row of the embedding for every token.

    files      each is there, ends where its header says, and is not a pickle (weight_files.py)
    weights    what the model has and the checkpoint lacks, what only the checkpoint has, what has another shape,
               what is stored as whole numbers where the model computes with fractions
    tokens     every id of the tokenizer and of the family has a row in the embedding, and one in the output head

transformers loads what it finds and fills the rest with random numbers, with a table in the log. Here the same account
(`loading_info`) becomes an error. Training asks when it loads the weights; `wdstream doctor` asks on the meta device,
which reads names and shapes alone: a moment, whatever the size of the model.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.model_folder import read_model_folder
from wdstream.proofs.weight_files import NUM_NAMED, require_weight_files, some_names, stored_types, stored_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_LAYERS = 10_000


def load_checkpoint(
    path: Path, *, allow_missing: Sequence[str] = (), allow_unexpected: Sequence[str] = (), **options: object
) -> "PreTrainedModel":
    """The model of a folder with the weights of its checkpoint, all of them.

    Args:
        path: the model folder.
        allow_missing: patterns (`lm_head.*`) of weights that begin as random numbers where the checkpoint lacks them
            or has them in another shape.
        allow_unexpected: patterns of weights that the model has no place for, and which are left out.
        options: of `from_pretrained`; `device_map="meta"` reads no weights.

    Raises:
        FamilyError: a file is missing, damaged or a pickle; or the weights are not those of the model.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    require_weight_files(path)
    require_few_layers(path)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what its table says of missing weights, the error below says
    try:
        with without_bars():
            model, found = AutoModelForImageTextToText.from_pretrained(
                path,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    except Exception as error:  # a program of others, which raises what its parts raise
        raise _not_loaded(path, error) from error
    finally:
        logging.set_verbosity(verbosity)
    require_whole_weights(path, found, allow_missing=allow_missing, allow_unexpected=allow_unexpected)
    require_fractions(path, model, allow_unexpected=allow_unexpected)
    require_tied(path, model)
    return model


def model_of_config(path: Path, **options: object) -> "PreTrainedModel":
    """The model that a folder's config.json describes, with whatever weights PyTorch gives it here.

    Args:
        path: the model folder.
        options: of `from_config`.

    Raises:
        FamilyError: config.json contradicts itself, or describes what transformers cannot build.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        settings = AutoConfig.from_pretrained(path, local_files_only=True)
        return AutoModelForImageTextToText.from_config(settings, **options)
    except Exception as error:  # a program of others, which raises what its parts raise
        raise _not_loaded(path, error) from error


def _not_loaded(path: Path, error: Exception) -> FamilyError:
    text = " ".join(str(error).split())
    return FamilyError(f"{path}: the model cannot be loaded ({type(error).__name__}: {text})")


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside, transformers draws no progress bars: one per process would tear the training's own, and a command's
    output has none but ours."""
    from transformers.utils import logging

    has_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if has_bar:
            logging.enable_progress_bar()


def require_checkpoint(
    family: Family, *, allow_missing: Sequence[str] = (), allow_unexpected: Sequence[str] = ()
) -> int:
    """Refuse a model folder whose weights are not whole, or too few for its tokens; reads names and shapes alone.

    Args:
        family: of the folder.
        allow_missing, allow_unexpected: as in `load_checkpoint`.

    Returns:
        How many weights the model has.

    Raises:
        FamilyError: names the file, the weights or the tokens.
    """
    model = load_checkpoint(
        family.model_dir, allow_missing=allow_missing, allow_unexpected=allow_unexpected, device_map="meta"
    )
    require_token_rows(model, family)
    return sum(1 for _ in model.parameters())


def require_few_layers(path: Path) -> None:
    """Refuse a config.json with numbers of layers that no model has: each one is made before any weight is looked for.

    Raises:
        FamilyError: names the key.
    """
    pending: list[object] = [read_model_folder(path).config]
    while pending:
        tree = pending.pop()
        for key, value in tree.items() if isinstance(tree, dict) else ():
            pending.append(value)
            if key.endswith(("layers", "depth")) and isinstance(value, int | float) and value > MAX_LAYERS:
                raise FamilyError(
                    f"{path / 'config.json'}: {key} is {value:g}, and no model has more than {MAX_LAYERS:,}"
                )


def require_whole_weights(
    path: Path, found: Mapping[str, Any], *, allow_missing: Sequence[str], allow_unexpected: Sequence[str]
) -> None:
    """Refuse a checkpoint that is not all of the model's weights and nothing else.

    Args:
        path: named in errors.
        found: `loading_info` of transformers.
        allow_missing, allow_unexpected: as in `load_checkpoint`.

    Raises:
        FamilyError: names the weights.
    """
    missing = _not_allowed(found["missing_keys"], allow_missing)
    shapes = {name: (tuple(theirs), tuple(ours)) for name, theirs, ours in found["mismatched_keys"]}
    mismatched = [
        f"{name} (checkpoint {shapes[name][0]}, model {shapes[name][1]})"
        for name in _not_allowed(shapes, allow_missing)
    ]
    unexpected = _not_allowed(found["unexpected_keys"], allow_unexpected)
    faults = []
    if missing:
        faults.append(
            f"the checkpoint lacks {_counted(missing)} of the model, which would be random numbers: "
            f"{some_names(missing)}; take the whole checkpoint, or allow it: model.allow_missing: {[missing[0]]}"
            + (
                "; or is tie_word_embeddings wrong in config.json?"
                if any(name.startswith("lm_head.") for name in missing)
                else ""
            )
        )
    if mismatched:
        faults.append(
            f"{_counted(mismatched)} of another shape than config.json says: {some_names(mismatched)}; take the "
            "config.json that belongs to the weights"
        )
    if unexpected:
        faults.append(
            f"{_counted(unexpected)} of the checkpoint without a place in the model: {some_names(unexpected)}; take "
            f"the config.json that belongs to the weights, or leave them out: model.allow_unexpected: {[unexpected[0]]}"
        )
    if faults:
        raise FamilyError("\n".join(f"{path}: {fault}" for fault in faults))


def _not_allowed(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns))


def require_fractions(path: Path, model: "PreTrainedModel", *, allow_unexpected: Sequence[str]) -> None:
    """Refuse weights stored as whole numbers or truth values, unless config.json says how they were quantised.

    transformers would take the numbers as they are, without their scale, and nothing would be missing.

    Raises:
        FamilyError: names them.
    """
    if read_model_folder(path).config.get("quantization_config") is not None:
        return
    ends = {name.rpartition(".")[2] for name, _ in model.named_parameters()}  # buffers, such as position_ids, may be
    types = {name: kind for name, kind in stored_types(path) if name.rpartition(".")[2] in ends}
    wrong = [name for name in _not_allowed(types, allow_unexpected) if not types[name].startswith(("F", "BF"))]
    if wrong:
        raise FamilyError(
            f"{path}: {_counted(wrong)} stored as {types[wrong[0]]}, and config.json has no quantization_config that "
            f"says what the numbers mean: {some_names(wrong)}; take the config.json that belongs to the weights, or "
            "the model in floating point"
        )


def require_tied(path: Path, model: "PreTrainedModel") -> None:
    """Refuse a checkpoint that has two different weights where config.json says that they are one.

    transformers keeps both with a line in the log; other programs that read the result tie them, and lose one.

    Raises:
        FamilyError: names both.
    """
    for target, source in sorted(model.get_expanded_tied_weights_keys(all_submodels=True).items()):
        first, second = model.get_parameter(target), model.get_parameter(source)
        if first is second or (first.is_meta and _has_equal(path, target, source)):
            continue
        raise FamilyError(
            f"{path}: config.json ties {target} to {source}, and the checkpoint holds two that differ; set "
            "tie_word_embeddings to false in config.json, or take the first out of the checkpoint"
        )


def _has_equal(path: Path, target: str, source: str) -> bool:
    """Whether the checkpoint holds equal weights under two names, or only one of them."""
    ends = tuple("." + ".".join(name.split(".")[-2:]) for name in (target, source))
    found: list[torch.Tensor | None] = [None, None]
    for name, tensor in stored_weights(path):
        for place, end in enumerate(ends):
            if f".{name}".endswith(end):
                found[place] = tensor
    first, second = found
    return first is None or second is None or torch.equal(first, second)


def require_finite(path: Path, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that hold a NaN or an infinity; reads each once.

    Raises:
        FamilyError: names them.
    """
    wrong = sorted(name for name, tensor in weights if tensor.is_floating_point() and not _is_finite(tensor))
    if wrong:
        raise FamilyError(
            f"{path}: {_counted(wrong)} with values that are not finite (NaN or infinite): {some_names(wrong)}; "
            "nothing can be trained on them, take a sound checkpoint"
        )


def _is_finite(tensor: torch.Tensor) -> bool:
    """By the sum, which a NaN or an infinity spoils: one pass, and no second tensor unless it has to be looked at."""
    tensor = tensor.detach()
    if tensor.itemsize in (1, 8):
        tensor = tensor.float()  # as training does, which makes an infinity of 1e39; one byte has no sum of its own
    return math.isfinite(float(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())


def require_token_rows(model: "PreTrainedModel", family: Family) -> None:
    """Refuse a tokenizer that has more tokens than the embedding or the output head has rows.

    Text, the chat template or a tile's label may form any of them, and the first one would end the run.

    Raises:
        FamilyError: gives both numbers, and names tokens that have no row.
    """
    tables = {"the embedding": model.get_input_embeddings(), "the output head": model.get_output_embeddings()}
    if family.name == "gemma4":
        tables["the embedding by layer"] = _by_layer(model)
    ids = {family.image_id, family.eos_id, family.pad_id, *family.opening_ids, *family.structural_ids}
    num_ids = 1 + max(family.encoder.vocab_size - 1, *ids)
    for what, table in tables.items():
        rows = _num_rows(table)
        if rows is None or num_ids <= rows:
            continue
        beyond = [family.encoder.decode([number]) for number in range(rows, min(num_ids, rows + NUM_NAMED))]
        raise FamilyError(
            f"{family.model_dir}: the tokenizer has {num_ids:,} tokens, and {what} {rows:,} rows: "
            f"{some_names(beyond, num_ids - rows)} would have none; take the tokenizer that belongs to the model, or "
            "save the model with resize_token_embeddings"
        )


def _by_layer(model: "PreTrainedModel") -> object:
    """The embedding that every layer of the language model reads by itself, where it has one."""
    return next((module for name, module in model.named_modules() if name.endswith("embed_tokens_per_layer")), None)


def _num_rows(table: object) -> int | None:
    """Rows of an embedding or output layer, or None where the model has no such layer."""
    for name in ("num_embeddings", "out_features"):  # what holds for quantised and for sharded weights, too
        if isinstance(size := getattr(table, name, None), int):
            return size
    return None


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} weight{'' if len(names) == 1 else 's'}"
