"""Help of the commands: every option and argument of each says what it is for.

Spans: commands.
"""

import click
import pytest
import typer

from wdstream.commands.app import app


def all_commands() -> dict[str, click.Command]:
    """The commands, those of groups by both names."""
    found: dict[str, click.Command] = {}
    groups = {"": typer.main.get_command(app)}
    while groups:
        name, group = groups.popitem()
        for own, command in getattr(group, "commands", {}).items():
            (groups if hasattr(command, "commands") else found)[f"{name} {own}".strip()] = command
    return found


COMMANDS = all_commands()


def test_groups_are_looked_into() -> None:
    assert {"make-shards", "verify", "reshard", "export parquet"} <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_has_a_help(name: str) -> None:
    assert COMMANDS[name].help
    silent = [each.name for each in COMMANDS[name].params if each.name != "help" and not getattr(each, "help", None)]
    assert not silent
