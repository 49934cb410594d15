"""Adapters (peft): where they are, what is trained whole next to them, and what of that could not be kept or merged."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from wdstream.config.adapter import AdapterConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.text.encoder import TextEncoder
from wdstream.train.model.parts import is_of_language, model_part

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

LORA_TARGETS = r".*(language_model|text_model)\..*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Attention and MLP projections of the language model only; "all-linear" would reach into the vision tower."""


def add_adapter(model: "PreTrainedModel", adapter: AdapterConfig, path: Path) -> "PeftModel":
    """The model under PEFT: all frozen but the adapter and what is trained next to it, which are float32.

    Args:
        model: loaded, quantised where that is wanted.
        adapter: what is trained.
        path: the model folder, whose tokenizer has the ids of `train_tokens`.

    Raises:
        TrainError: a module, token or pattern is not in the model, or is of a weight that is tied to another.
    """
    from peft import get_peft_model

    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    lora = _lora_config(model, adapter, path)
    try:
        with quiet_peft():
            adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise TrainError(f"train.adapter.target_modules: {error}") from error
    targets = adapted.base_model.targeted_module_names
    refuse_tied_targets(tied, targets)
    _refuse_unmatched_patterns(adapter, targets)
    _settle(adapted)
    return adapted


@contextmanager
def quiet_peft() -> Iterator[None]:
    """For the block, no warnings of peft about which nobody could do anything, or which are errors of ours."""
    with warnings.catch_warnings():
        # peft asks by a name that transformers renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings", category=UserWarning)
        warnings.filterwarnings("ignore", message="The following .* keys did not match", category=RuntimeWarning)
        yield


def _settle(adapted: "PeftModel") -> None:
    """Everything trained in float32; and the sizes of a tied head, which peft makes with its two sides exchanged."""
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    copies = getattr(adapted.get_output_embeddings(), "modules_to_save", None)
    if isinstance(copies, nn.ModuleDict) and isinstance(head := copies["default"], nn.Linear):
        head.out_features, head.in_features = head.weight.shape


def _lora_config(model: "PreTrainedModel", adapter: AdapterConfig, path: Path) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=target_modules(model, adapter),
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        rank_pattern=dict(adapter.rank_pattern),
        alpha_pattern=dict(adapter.alpha_pattern),
        init_lora_weights="gaussian" if adapter.init == "gaussian" else True,
        task_type="CAUSAL_LM",
        **_trained_next_to(model, adapter, path),
    )


def _trained_next_to(model: "PreTrainedModel", adapter: AdapterConfig, path: Path) -> dict[str, Any]:
    """Options of LoraConfig: what is trained next to the adapter. A weight that is tied is trained as one."""
    saved, ids = saved_modules(model, adapter.modules_to_save), ids_of_tokens(path, adapter.train_tokens)
    if not saved and not ids:
        return {}
    places = (model.get_input_embeddings(), model.get_output_embeddings())
    embedding, head = (next(name for name, one in model.named_modules() if one is place) for place in places)
    is_tied = places[0].weight is places[1].weight
    if is_tied and head in saved:
        saved = [embedding, *(name for name in saved if name not in (embedding, head))]
    tables = [embedding] if is_tied else [embedding, head]
    if not ids:
        return {"modules_to_save": saved, "ensure_weight_tying": is_tied and embedding in saved}
    if {embedding, head} & set(saved):
        raise TrainError(
            "train.adapter.train_tokens: modules_to_save already trains every row of the embedding or of the output "
            "head; leave one of the two out"
        )
    return {"modules_to_save": saved or None, "trainable_token_indices": {name: list(ids) for name in tables}}


def target_modules(model: nn.Module, adapter: AdapterConfig) -> str | list[str]:
    """Names of the modules that get an adapter, or a regex of them."""
    targets = adapter.target_modules
    if targets is not None:
        return targets if isinstance(targets, str) else list(targets)
    if set(adapter.parts) <= {"language"}:
        return LORA_TARGETS
    inside = {name for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rpartition(".")[0] not in inside  # whose weights it takes without calling its layers
        and (part := model_part(name)) in adapter.parts
        and (part != "language" or re.fullmatch(LORA_TARGETS, name))
    ]


def saved_modules(model: nn.Module, wanted: Sequence[str]) -> list[str]:
    """Whole names of the modules that `modules_to_save` names; of `projector`, the outermost of that part.

    Raises:
        TrainError: the model has none of a name.
    """
    # A list of modules has no forward pass that an adapter could take the place of: those in it are saved one by one.
    modules = model.named_modules(remove_duplicate=False)
    names = [name for name, module in modules if name and not isinstance(module, nn.ModuleList)]
    found = []
    for end in wanted:
        of_part = [name for name in names if model_part(name) == end == "projector"]
        matches = of_part or [name for name in names if f".{name}".endswith(f".{end}")]
        if not matches:
            raise TrainError(
                f"train.adapter.modules_to_save: no module of the model has a name that ends in {end}; it is made of "
                f"{', '.join(sorted({'.'.join(name.split('.')[:2]) for name in names}))}"
            )
        found += matches
    return [name for name in dict.fromkeys(found) if not any(name.startswith(f"{other}.") for other in found)]


def ids_of_tokens(path: Path, tokens: Sequence[str]) -> list[int]:
    """Ids of `train_tokens`.

    Raises:
        TrainError: the tokenizer of the model folder has no such token.
    """
    if not tokens:
        return []
    encoder = TextEncoder.open(path)
    ids = {token: encoder.find_id(token) for token in tokens}
    if unknown := [token for token, number in ids.items() if number is None]:
        raise TrainError(
            f"train.adapter.train_tokens: the tokenizer of {path} has no {', '.join(unknown)}; add them with "
            "`wdstream model add-tokens`, or take the folder that it wrote"
        )
    return [number for number in ids.values() if number is not None]


def refuse_tied_targets(
    tied: Mapping[str, str], targets: Iterable[str], *, where: str = "train.adapter.target_modules"
) -> None:
    """Refuse an adapter on one of two layers that share a weight.

    Args:
        tied: names of weights that are one, by the weight that they are tied to.
        targets: names of modules that got an adapter.
        where: what names the targets, for messages.

    Raises:
        TrainError: names both.
    """
    chosen = set(targets)
    for first, second in sorted(tied.items()):
        pair = [name.removesuffix(".weight") for name in (first, second)]
        if found := [name for name in pair if name in chosen]:
            raise TrainError(
                f"{where}: {found[0]} is among the targets, and {pair[0]} and {pair[1]} are one "
                "weight (tie_word_embeddings): an adapter on one is not on the other, so it could never be merged; "
                "leave both out, or train them whole (modules_to_save)"
            )


def refuse_frozen_targets(model: nn.Module) -> None:
    """Refuse what an adapter trains outside of the language model where `freeze_vision` freezes that.

    Raises:
        ConfigError: names some of it.
    """
    outside = [name for name, one in model.named_parameters() if one.requires_grad and not is_of_language(name)]
    if outside:
        raise ConfigError(
            f"train.freeze_vision: train.adapter trains {len(outside)} weights outside of the language model, such as "
            f"{outside[0]}; leave freeze_vision out, or take these from target_modules, parts and modules_to_save"
        )


def _refuse_unmatched_patterns(adapter: AdapterConfig, targets: Sequence[str]) -> None:
    from peft.utils.other import get_pattern_key

    for key in ("rank_pattern", "alpha_pattern"):
        patterns = list(getattr(adapter, key))
        used = {get_pattern_key(patterns, name) for name in targets}
        for pattern in [one for one in patterns if one not in used]:
            if any(get_pattern_key([pattern], name) == pattern for name in targets):
                raise TrainError(
                    f"train.adapter.{key}: {pattern}: a pattern before it already holds for all that it matches (the "
                    "first that matches counts); put it first, or leave it out"
                )
            raise TrainError(
                f"train.adapter.{key}: no module with an adapter has a name that ends in a match of {pattern}; they "
                f"are {', '.join(sorted({name.rpartition('.')[2] for name in targets}))}"
            )


def refuse_idle_settings(adapter: AdapterConfig, targets: Sequence[str]) -> None:
    """Refuse parts and names of modules that got no adapter, and an r or alpha that patterns take from all that did; of
    a new run, for one that continues cannot change them.

    Args:
        adapter: of the run.
        targets: names of the modules that got one.

    Raises:
        TrainError: names the key.
    """
    for part in adapter.parts:
        if not any(model_part(name) == part for name in targets):
            raise TrainError(
                f"train.adapter.parts: {part}: no adapter is on it: it has no linear layer, or modules_to_save trains "
                "all of them whole; leave one out"
            )
    for end in adapter.target_modules if isinstance(adapter.target_modules, tuple) else ():
        if not any(f".{name}".endswith(f".{end}") for name in targets):
            ends = {name.rpartition(".")[2] for name in targets}
            raise TrainError(
                f"train.adapter.target_modules: no module with an adapter has a name that ends in {end}: it is not in "
                "the model, cannot have one, or modules_to_save trains it whole; there are "
                f"{', '.join(sorted(ends))}"
            )
    for key, patterns in (("r", adapter.rank_pattern), ("alpha", adapter.alpha_pattern)):
        if getattr(adapter, key) != type(adapter).model_fields[key].default and patterns:
            from peft.utils.other import get_pattern_key

            if all(get_pattern_key(list(patterns), name) in patterns for name in targets):
                long = {"r": "rank", "alpha": "alpha"}[key]
                raise TrainError(
                    f"train.adapter.{key}: has no effect: {long}_pattern has another for every module with an adapter; "
                    "leave it out"
                )


def require_unsharded(adapter: AdapterConfig | None, *, is_sharded: bool) -> None:
    """Refuse what cannot be trained, or not be continued, where no process holds whole weights.

    Raises:
        ConfigError: names the key.
    """
    if adapter is None or not is_sharded:
        return
    if adapter.kind == "qlora":
        raise ConfigError(
            "train.adapter.kind: qlora: under FSDP its checkpoints cannot be loaded again (the scales of 4-bit weights "
            "have no place in a sharded model), so no run could continue; start with --multi_gpu, or use kind: lora"
        )
    if adapter.train_tokens:
        raise ConfigError(
            "train.adapter.train_tokens: FSDP and ZeRO-3 shard the embedding by its rows, and peft's rows cannot be "
            "taken out of it; start with --multi_gpu, or train the whole table (modules_to_save: [embed_tokens])"
        )


def describe_trained(model: nn.Module) -> str:
    """One line on what is trained: how many numbers, and of which part."""
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tensors, numbers = counts.get(model_part(name), (0, 0))
            counts[model_part(name)] = tensors + 1, numbers + parameter.numel()
    parts = [f"{part} {numbers / 1e6:.3f} M in {tensors}" for part, (tensors, numbers) in sorted(counts.items())]
    total = sum(numbers for _, numbers in counts.values())
    return f"trained: {total / 1e6:.3f} M weights (tensors of {', '.join(parts)})"
