"""The section `train.adapter:` of a configuration."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from wdstream.settings import Settings

AdapterPart = Literal["language", "vision", "projector"]
"""What an adapter may be on: the language model's layers, the vision tower's, and what joins the two."""


def _is_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from None
    return text


Name = Annotated[str, StringConstraints(min_length=1)]
Rank = Annotated[int, Field(gt=0, le=1 << 16)]
"""Of an adapter; no matrix of a model has as many rows and columns as the bound, so more is a slip of the pen."""
Regex = Annotated[str, AfterValidator(_is_regex)]


class AdapterConfig(Settings):
    """`train.adapter:` LoRA, or QLoRA over a 4-bit base."""

    kind: Literal["lora", "qlora"] = "lora"
    """lora: the base frozen in `model.dtype`. qlora: the linear layers of `quantized_parts` frozen in 4 bits."""
    r: Rank = 16
    """Rank of the adapter's matrices."""
    alpha: int = Field(default=32, gt=0)
    """The adapter's output is scaled by alpha / r, or by alpha / sqrt(r) with `rslora`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On the adapter's input."""
    parts: tuple[AdapterPart, ...] = ()
    """Adapters are on these parts: of the language model on its attention and MLP projections, of the others on every
    linear layer. Left out, and without `target_modules`: the language model."""
    target_modules: Regex | tuple[str, ...] | None = None
    """Regex or names of modules, in place of `parts`."""
    modules_to_save: tuple[Name, ...] = ()
    """Modules that are trained whole, in float32, and saved with the adapter, by the end of their names such as
    `embed_tokens`, `lm_head` or `multi_modal_projector`; `projector` is that of any family. Of an embedding and a head
    that share a weight, either name trains both as one."""
    train_tokens: tuple[Name, ...] = ()
    """Tokens whose rows in the embedding and in the output head are trained and saved with the adapter, such as those
    that `wdstream model add-tokens` added; all other rows stay."""
    rslora: bool = False
    """Scale by alpha / sqrt(r), so that a larger rank does not learn more slowly (rank-stabilised LoRA)."""
    dora: bool = False
    """Train the length of each row of the adapted weights too, apart from its direction (DoRA): slower, and often
    better at small ranks."""
    rank_pattern: dict[Regex, Rank] = Field(default_factory=dict)
    """Another r for modules whose names end in a match of a regex, such as `{down_proj: 32}`; of
    several that match, the first counts."""
    alpha_pattern: dict[Regex, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Another alpha, likewise."""
    init: Literal["uniform", "gaussian"] = "uniform"
    """Of the first matrix (Kaiming's uniform, or a normal distribution of 1 / r); the second is zero, so that training
    begins at the base's own loss."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 16 values of 4 bits: those of a normal distribution, or floating point."""
    double_quant: bool = True
    """Quantise the scales of the blocks as well: 0.4 bits per weight less."""
    quantized_parts: tuple[AdapterPart, ...] = Field(default=("language",), min_length=1)
    """Parts whose linear layers are in 4 bits; the output head never is, nor what `modules_to_save` names."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.parts and self.target_modules is not None:
            raise ValueError("parts and target_modules both say where adapters are: leave one out")
        if "projector" in self.parts and "projector" in self.modules_to_save:
            raise ValueError("parts and modules_to_save both name the projector, which is trained by one of them")
        if self.kind != "qlora":
            keys = ("quant_type", "double_quant", "quantized_parts")
            if found := [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]:
                raise ValueError(f"{', '.join(found)}: of kind: qlora, and ignored by kind: {self.kind}; leave it out")
        return self
