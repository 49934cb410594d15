"""Every parameter of a model with its part (train/model/parts.py), and whether it decays when nothing is said."""

import re
from dataclasses import dataclass

from torch import nn

from wdstream.config.learning import ModelPart
from wdstream.train.model.parts import model_part

POSITION_TABLES = re.compile(
    r"(^|[._])(pos_embed|position_embedding|rel_pos|cls_token|class_embedding|probe|image_newline)"
)
"""Names of parameters that are positions or tokens, whatever their shape."""

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParameter:
    """A parameter and where it is.

    Attributes:
        names: without the prefix of PEFT; a tied weight has several.
        part: of the model.
        is_table: rows by position or token id, not a matrix that is multiplied with.
        value: the parameter itself.
    """

    names: tuple[str, ...]
    part: ModelPart
    is_table: bool
    value: nn.Parameter


def model_parameters(model: nn.Module) -> list[ModelParameter]:
    """Every parameter once, in the model's order; the model is not yet wrapped by Accelerate."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name.removeprefix(PEFT_PREFIX))
    found = []
    for parameter, own in names.items():
        part = next((part for part in map(model_part, own) if part == "embeddings"), model_part(own[0]))
        is_table = part == "embeddings" or POSITION_TABLES.search(own[0]) is not None
        found.append(ModelParameter(names=tuple(own), part=part, is_table=is_table, value=parameter))
    return found
