"""Paths of commands: a parameter of type `Path` is of this machine, and refuses a URL; one of type `str` may be either.

So that no command turns `s3://bucket/x` into a folder `s3:/bucket/x`, also one that is added later: `PathsApp` sees to
it for every parameter of its commands.
"""

import inspect
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer
from typer.models import ParameterInfo

from wdstream.commands.options import OptionsCommand
from wdstream.storage.addresses import shown_url
from wdstream.storage.places import local_folder

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


def local_path(text: str | Path) -> Path:
    """The path of a file or folder of this machine; `file://` is one, too.

    Raises:
        typer.BadParameter: it is a URL.
    """
    path = local_folder(text)
    if path is None:
        raise typer.BadParameter(
            f"{shown_url(str(text))} is a URL, and this has to be a file or folder of this machine: copy or mount it"
        )
    return path


local_path.__name__ = "path"  # as help shows it


class PathsApp(typer.Typer):
    """An app, or a group of commands, whose parameters of type `Path` refuse URLs."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[Wrapped], Wrapped]:
        """Add a command, as typer does, once its paths are checked."""
        add = super().command(*arguments, **{"cls": OptionsCommand, **options})

        def decorated(command: Wrapped) -> Wrapped:
            signature = inspect.signature(command, eval_str=True)
            checked = [_checked(parameter) for parameter in signature.parameters.values()]
            command.__signature__ = signature.replace(parameters=checked)  # type: ignore[attr-defined]
            return add(command)

        return decorated


def is_of_path(annotation: object) -> bool:
    """Whether a parameter of this type is a path of this machine, or several."""
    return annotation is Path or any(is_of_path(part) for part in get_args(annotation))


def _checked(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter with the check, where it is a path."""
    if get_origin(parameter.annotation) is not Annotated:
        assert not is_of_path(parameter.annotation), f"{parameter.name}: say Annotated[Path, typer.Option(...)]"
        return parameter
    kind, *others = get_args(parameter.annotation)
    infos = [other for other in others if isinstance(other, ParameterInfo)]
    if not is_of_path(kind) or not infos:
        return parameter
    info = copy(infos[0])
    info.parser = local_path
    return parameter.replace(annotation=Annotated[kind, info])
