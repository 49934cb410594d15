"""The base of every model of settings, and the one place where a wrong value becomes a ConfigError.

Each station declares its own settings as a subclass, and its code uses that object; `config/` composes them into the
YAML configuration. Fields are documented by the string under each, and limited by pydantic's own constraints.
"""

import inspect
import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from wdstream.errors import ConfigError

F = TypeVar("F", bound=Callable[..., object])
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # of a Path, one slash is left
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


class Settings(BaseModel):
    """Base of all settings: frozen, no key is ignored, and a wrong value or key is a ConfigError that names it.

    Nested in other settings, mistakes are reported together, each with its whole path.
    """

    # Built when they are first used: a command has the settings of all commands, and uses its own.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)
    section: ClassVar[str] = ""
    """Where these settings are in the YAML configuration; comes before the field in messages."""
    other_names: ClassVar[Mapping[str, str]] = {}
    """What to set in place of a key that is not known, here or in settings inside of these; for messages."""
    headings: ClassVar[Mapping[str, str]] = {}
    """Of a class whose fields are options of a command: what `--help` writes above a field and those after it."""

    def __init__(self, **values: object) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _config_error(type(self), error) from None

    # Settings inside of others are validated without their __init__, so that paths stay whole.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @field_validator("*", mode="before")
    @classmethod
    def _paths_are_of_this_machine(cls, value: object, info: ValidationInfo) -> object:
        """A field of type Path is not a URL; `~` and `$VARIABLE` in its text are written out."""
        if isinstance(value, str | Path) and _holds_path(cls.model_fields[str(info.field_name)].annotation):
            if is_url := _URL.match(str(value)):
                raise ValueError(f"{info.field_name}: expected a path of this machine, found a URL ({is_url[1]}:)")
            return expanded(value) if isinstance(value, str) else value
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_not_yes_or_no(cls, value: object, info: ValidationInfo) -> object:
        """True is no 1, which pydantic would take it for, nor in a list."""
        found = [one for one in (value if isinstance(value, list | tuple) else (value,)) if isinstance(one, bool)]
        kinds = _leaves(cls.model_fields[str(info.field_name)].annotation) if found else set()
        if kinds & {int, float} and bool not in kinds:
            raise ValueError(f"{info.field_name}: expected a number, found {found[0]}")
        return value

    @classmethod
    def of(cls, values: Mapping[str, object], *, are_options: bool = False) -> Self:
        """Settings by name, such as a section of a YAML file; raises ConfigError like the constructor.

        Args:
            values: by name.
            are_options: they are from a command line, so messages call `pages_per_shard` `--pages-per-shard`.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _config_error(cls, error, are_options=are_options) from None

    @classmethod
    def within(cls, composed: "Settings") -> Self:
        """The settings of this class in a model that inherits its fields."""
        return cls.of({name: getattr(composed, name) for name in cls.model_fields})

    def replace(self, **changes: object) -> Self:
        """The same settings with some fields changed, checked again."""
        return type(self).of({**dict(self), **changes})


def expanded(text: str) -> str:
    """A path or address as it was meant: `~` is a home, `$VARIABLE` or `${VARIABLE}` is its value.

    Raises:
        ValueError: there is no such home or variable.
    """
    found = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  # an address is not a path
    if found.startswith("~"):
        raise ValueError(f"path: there is no home folder {found.partition('/')[0]} here; write it out")
    unset = _VARIABLE.search(found)
    if unset:
        raise ValueError(f"path: {unset[0]} in {text!r} is not set in the environment; set it, or write it out")
    return found


def _leaves(annotation: object) -> set[object]:
    """The types that an annotation is made of."""
    inner = get_args(annotation)
    return {leaf for one in inner for leaf in _leaves(one)} if inner else {annotation}


def _holds_path(annotation: object) -> bool:
    return annotation is Path or Path in get_args(annotation)


def takes_settings(model: type[Settings]) -> Callable[[F], F]:
    """Let `help()` show the fields of `model` in place of the `**settings` of a constructor."""

    def documented(constructor: F) -> F:
        signature = inspect.signature(constructor)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        types = get_type_hints(model)  # plain ones: int, where the field says PositiveInt
        fields = [_parameter(name, types[name], field) for name, field in model.model_fields.items()]
        constructor.__signature__ = signature.replace(parameters=[*own, *fields])  # type: ignore[attr-defined]
        return constructor

    return documented


def _parameter(name: str, kind: object, field: FieldInfo) -> inspect.Parameter:
    """A field as a keyword of a constructor; the model itself, which knows them so, may not be built yet."""
    default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


_EXPECTED = {
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "path_type": "expected a path",
    "string_type": "expected a text",
    "dict_type": "expected keys with their values",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
}
"""What pydantic says in words of Python, by its type of error."""


def _config_error(model: type[Settings], error: ValidationError, *, are_options: bool = False) -> ConfigError:
    """One line for each mistake: where it is, what was expected, and what was found."""
    items = [item for item in error.errors(include_url=False) if not _is_echo(item)]
    return ConfigError("\n".join(_explain(model, item, are_options=are_options) for item in items))


def _is_echo(item: Mapping[str, Any]) -> bool:
    """Whether a tuple counts as too short only because its entries, each with a mistake of its own, were left out."""
    value = item["input"]
    return item["type"] == "too_short" and isinstance(value, list | tuple) and len(value) >= item["ctx"]["min_length"]


def _explain(model: type[Settings], item: Mapping[str, Any], *, are_options: bool) -> str:
    where, keys = model.section, _place(model, item)
    for key in keys:
        where += f"[{key}]" if isinstance(key, int) else f".{key}" if where else str(key)
    if are_options and where:
        where = f"--{where.replace('_', '-')}"
    prefix = f"{where}: " if where else ""
    if item["type"] == "value_error":  # of our own validators: the message says what was found
        text = str(item["ctx"]["error"])
        return prefix + text.removeprefix(f"{keys[-1]}: " if keys else "")
    if item["type"] == "extra_forbidden":
        return f"{prefix}unknown key; {_advice(model, keys)}"
    if item["type"] == "missing":
        return f"{prefix}missing"
    if item["type"] == "model_type":
        expected = f"expected keys with their values; known keys: {', '.join(_known_keys(model, keys))}"
    else:
        expected = _EXPECTED.get(item["type"], item["msg"].replace("Input should be", "expected"))
    return f"{prefix}{expected}, found {item['input']!r}"


def _place(model: type[BaseModel], item: Mapping[str, Any]) -> list[int | str]:
    """Keys and indexes down to the mistake, without the tags that pydantic puts in for the branch of a union."""
    place: list[int | str] = []
    is_mapping = False
    for key in item["loc"]:
        if isinstance(key, int) or (is_mapping and key != "[key]"):
            place.append(key)
            is_mapping = False
        elif key in model.model_fields:
            place.append(key)
            annotation = model.model_fields[key].annotation
            is_mapping = get_origin(annotation) is Mapping
            inner = _models_in(annotation)
            model = inner[0] if inner else model
    return [*place, item["loc"][-1]] if item["type"] == "extra_forbidden" else place


def _advice(model: type[Settings], keys: list[int | str]) -> str:
    """What may have been meant by an unknown key."""
    name = str(keys[-1])
    if name in model.other_names:
        return f"the setting here is {model.other_names[name]}"
    known = _known_keys(model, keys[:-1])
    near = get_close_matches(name, known, n=1, cutoff=0.75)
    return f"known keys: {', '.join(known)}" + "".join(f"; did you mean {found}?" for found in near)


def _known_keys(model: type[BaseModel], path: list[int | str]) -> list[str]:
    """Keys of the section at `path`, following annotations through unions and tuples."""
    for key in path:
        if key in model.model_fields:
            inner = _models_in(model.model_fields[str(key)].annotation)
            model = inner[0] if inner else model
    return sorted(model.model_fields)


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
