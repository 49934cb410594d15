"""Options of a command from a model of settings, so that name, default and help are declared once; and how help shows
them: under headings, each name whole, however narrow the terminal is.

Limits are not shown: the model refuses a value that is out of range, and says what was expected.
"""

import ast
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from wdstream.settings import Settings

C = TypeVar("C", bound=Callable[..., None])
_NAMES_WIDTH = 24
"""Of names in help; what a longer one does is in the line below it."""


def takes_options(model: type[Settings]) -> Callable[[C], C]:
    """Give a command an option for every field of `model`, in place of its `**options`: `max_pixels` is `--max-pixels`,
    and a tuple `metadata_fields` is `--metadata-field`, which may be repeated.

    Names, types, defaults and the string under a field, which is the help, are the model's; so are headings, with the
    fields of a class before those that it inherits.
    """
    types, helps = get_type_hints(model), field_helps(model)
    headings = _field_headings(model)

    def decorated(command: C) -> C:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [
            _option(name, types[name], model.model_fields[name], helps.get(name), heading)
            for name, heading in headings.items()
        ]
        command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        return command

    return decorated


class OptionsCommand(TyperCommand):
    """A command whose help is plain text: arguments, then options under the headings that they have. An option that
    takes one value is refused where it has two, of which one would be passed over."""

    def make_parser(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # of typer's own click
        """The parser of the command's line."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            options, others, order = parse(args=args)
            for option in order:
                takes_one = getattr(option, "is_flag", None) is False and not option.multiple
                if takes_one and order.count(option) > 1:
                    ctx.fail(f"{option.opts[0]} is there {order.count(option)} times: give it once")
            return options, others, order

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # of typer's own click
        """Write usage, text and options; typer's tables cut names where a terminal is narrow."""
        super(TyperCommand, self).format_help(ctx, formatter)

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # as above
        """Write each group under its heading; options without one come first."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=_NAMES_WIDTH)


def _field_headings(model: type[Settings]) -> dict[str, str | None]:
    """The heading of each field, in the order of help; none where its class has none above it."""
    found: dict[str, str | None] = {}
    for owner in model.__mro__:
        heading = None
        for name in inspect.get_annotations(owner):
            heading = getattr(owner, "headings", {}).get(name, heading)
            if name in model.model_fields:
                found.setdefault(name, heading)
    return found


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


def _option(name: str, kind: object, field: FieldInfo, shown: str | None, heading: str | None) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    metavar = None  # by the type
    if get_origin(kind) is tuple:  # of any length: the option is repeated
        kind, flag = list[str], flag.removesuffix("s")
        metavar = "<str>"
    declaration = flag if field.default is False or kind is not bool else f"{flag}/--no-{flag[2:]}"
    annotation = Annotated[kind, typer.Option(declaration, help=shown, metavar=metavar, rich_help_panel=heading)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
