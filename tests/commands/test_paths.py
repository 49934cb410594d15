"""Every path of every command refuses a URL, or takes it; none makes a folder of it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
import typer
from typer.models import ArgumentInfo, CommandInfo, ParameterInfo
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.commands.paths import is_of_path

URL = "s3://bucket-of-nobody/x"
TAKES_URL = {"shards", "out", "raw", "merge_from"}
"""Names of parameters of type str that are paths or URLs, in some command; those of type Path refuse URLs."""


def commands(group: typer.Typer, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], CommandInfo]]:
    for command in group.registered_commands:
        assert command.name
        yield (*before, command.name), command
    for inner in group.registered_groups:
        assert inner.typer_instance and inner.name
        yield from commands(inner.typer_instance, (*before, inner.name))


def parts_of(parameter: inspect.Parameter) -> tuple[object, ParameterInfo]:
    assert get_origin(parameter.annotation) is Annotated, parameter
    kind, *others = get_args(parameter.annotation)
    (info,) = [other for other in others if isinstance(other, ParameterInfo)]
    return kind, info


def command_line(command: CommandInfo, wanted: str) -> list[str]:
    """Arguments with the URL for one parameter, and something for all others that are needed."""
    assert command.callback
    line: list[str] = []
    for name, parameter in inspect.signature(command.callback).parameters.items():
        kind, info = parts_of(parameter)
        is_needed = parameter.default is parameter.empty
        if name != wanted and not (is_needed or isinstance(info, ArgumentInfo)):
            continue
        value = URL if name == wanted else "3" if kind is int else "here"
        if isinstance(info, ArgumentInfo):
            line.append(value)
        else:
            declared = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
            line += [next((text for text in declared if text.startswith("--")), f"--{name.replace('_', '-')}"), value]
    return line


def path_parameters() -> Iterator[tuple[tuple[str, ...], CommandInfo, str, bool]]:
    """(command, what typer knows of it, name of a parameter, whether it refuses URLs)."""
    for name, command in commands(app):
        assert command.callback
        for parameter in inspect.signature(command.callback).parameters.values():
            kind, _ = parts_of(parameter)
            if is_of_path(kind):
                yield name, command, parameter.name, True
            elif parameter.name in TAKES_URL:
                yield name, command, parameter.name, False


CASES = [*path_parameters()]


@pytest.mark.parametrize(
    ("name", "command", "parameter"),
    [pytest.param(*case[:3], id=f"{' '.join(case[0])} {case[2]}") for case in CASES if case[3]],
)
def test_a_path_of_this_machine_refuses_a_url(
    name: tuple[str, ...], command: CommandInfo, parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*name, *command_line(command, parameter)])
    assert done.exit_code == 2, done.output
    assert "is a URL" in " ".join(done.output.split()), done.output
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("name", "command", "parameter"),
    [pytest.param(*case[:3], id=f"{' '.join(case[0])} {case[2]}") for case in CASES if not case[3]],
)
def test_where_a_url_is_taken_no_folder_is_made_of_it(
    name: tuple[str, ...], command: CommandInfo, parameter: str, tmp_path: Path, bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*name, *command_line(command, parameter)])
    assert done.exit_code != 0
    assert not [path for path in tmp_path.rglob("*") if "s3:" in path.name]


def test_every_command_with_paths_is_looked_at() -> None:
    with_paths = {case[0][0] for case in CASES}
    of_another_program = {"launch"}  # what it is given, `accelerate launch` gets (test_run.py)
    assert {command[0] for command, _ in commands(app)} == with_paths | of_another_program
    assert ("make-shards",) in {case[0] for case in CASES if not case[3]}
