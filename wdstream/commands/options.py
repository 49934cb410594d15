"""Options of a command from a model of settings, so that name, default and help are declared once.

Limits are not shown: the model refuses a value that is out of range, and says what was expected.
"""

import ast
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, TypeVar, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from wdstream.settings import Settings

C = TypeVar("C", bound=Callable[..., None])


def takes_options(model: type[Settings]) -> Callable[[C], C]:
    """Give a command an option for every field of `model`, in place of its `**options`: `max_pixels` is `--max-pixels`,
    and a tuple `metadata_fields` is `--metadata-field`, which may be repeated.

    Names, types, defaults and the string under a field, which is the help, are the model's.
    """
    types, helps = get_type_hints(model), field_helps(model)

    def decorated(command: C) -> C:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [_option(name, types[name], field, helps.get(name)) for name, field in model.model_fields.items()]
        command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        return command

    return decorated


def field_helps(model: type[Settings]) -> dict[str, str]:
    """The string under each field of a model that has one, by name.

    Only commands read them, so they are not a part of the model: to find them takes longer than all else that a worker
    does to know its settings.
    """
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, Settings):
            found |= _helps_of_module(owner.__module__).get(owner.__name__, {})
    return found


@lru_cache
def _helps_of_module(name: str) -> dict[str, dict[str, str]]:
    """The strings under fields, by class and field, of a module that is imported."""
    tree = ast.parse(inspect.getsource(sys.modules[name]))
    return {
        node.name: {
            field.target.id: inspect.cleandoc(text.value.value)
            for field, text in pairwise(node.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _option(name: str, kind: object, field: FieldInfo, shown: str | None) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    if get_origin(kind) is tuple:  # of any length: the option is repeated
        kind, flag = list[str], flag.removesuffix("s")
    declaration = flag if field.default is False or kind is not bool else f"{flag}/--no-{flag[2:]}"
    annotation = Annotated[kind, typer.Option(declaration, help=shown)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
