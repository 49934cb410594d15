"""Options of a command from a model of settings, so that name, default and help are declared once.

Limits are not shown: the model refuses a value that is out of range, and says what was expected.
"""

import inspect
from collections.abc import Callable
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
    types = get_type_hints(model)

    def decorated(command: C) -> C:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [_option(name, types[name], field) for name, field in model.model_fields.items()]
        command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        return command

    return decorated


def _option(name: str, kind: object, field: FieldInfo) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    if get_origin(kind) is tuple:  # of any length: the option is repeated
        kind, flag = list[str], flag.removesuffix("s")
    declaration = flag if field.default is False or kind is not bool else f"{flag}/--no-{flag[2:]}"
    annotation = Annotated[kind, typer.Option(declaration, help=field.description)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
