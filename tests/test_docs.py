"""What docs and docstrings point at is there: files, modules, names, commands, make targets.

Spans: docs.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
from typer import BadParameter
from typer.main import get_command

from check_terms import prose_files, prose_of
from tests.helpers.paths import ROOT

DOCS = [path for path in prose_files() if path.suffix == ".md"]
FILE = re.compile(r"(?<![\w./-])[\w./-]*\w+\.(?:py|md|jinja)\b|\bconfigs/[\w./-]+\.yaml")
MODULE = re.compile(r"(?<![\w./-])wdstream(?:\.\w+)+")
ELSEWHERE = re.compile(
    r"transformers/.*|(image_)?processing_\w+\.py|chat_template\.jinja|glm_ocr_family\.py|make_tiny\.py"
)
"""Files of transformers, of model folders, and of the package that docs/add-a-family.md writes."""

CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def known_files() -> set[str]:
    """Every way to name a file of the repository: its path, without any of its first folders."""
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]
    return {"/".join(path.parts[start:]) for path in paths for start in range(len(path.parts))}


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or what one holds."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def imported_names(program: str) -> Iterator[str]:
    """The names of wdstream that a program imports."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wdstream"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_files_that_prose_names() -> None:
    known = known_files()
    missing = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in prose_files()
        if "tests" not in path.parts
        for _, text in prose_of(path, keep_code=True)
        for match in FILE.finditer(text)
        if match[0] not in known and not ELSEWHERE.fullmatch(match[0])
    }
    assert not missing, "\n".join(sorted(missing))


def test_modules_and_names_in_docs() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in DOCS}
    named = {(path, name) for path, text in texts.items() for name in MODULE.findall(text)}
    named |= {
        (path, name) for path, text in texts.items() for code in CODE.findall(text) for name in imported_names(code)
    }
    assert len(named) > 20
    entry_points = {"wdstream.tiling", "wdstream.families", "wdstream.sources"}  # groups; modules of the same name, too
    missing = [f"{path.relative_to(ROOT)}: {name}" for path, name in named if not exists(name)]
    assert not [line for line in missing if line.split(": ")[1] not in entry_points], "\n".join(sorted(missing))


def test_commands_in_docs() -> None:
    from wdstream.commands.app import app

    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    pattern = re.compile(r"(?:^|`)wdstream ([a-z][a-z-]*)", re.MULTILINE)
    used = {name for path in DOCS for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert {"make-shards", "index", "plan", "show", "trace"} <= used
    assert used <= known | {"turns"}  # the first sentence of the README


def test_make_targets_in_docs() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {
        name
        for path in DOCS
        for name in re.findall(r"(?:^|`)make (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert used and used <= targets


USAGE_ERROR = cast(type[Exception], BadParameter.__bases__[0])
"""What a wrong command raises, and with it a missing argument, an option that there is not, a word too many."""
COMMAND = re.compile(r"`wdstream ([a-z][^`]+)`|^ *(?:[A-Z_]+=\S+ )?wdstream ([a-z].*?)(?: +#.*)?$", re.MULTILINE)


def commands_of(path: Path) -> Iterator[list[str]]:
    """Commands with their arguments; one that is only named in a sentence is not."""
    for match in COMMAND.finditer(path.read_text(encoding="utf-8")):
        words = ["1" if word == "N" else word for word in shlex.split(match[1] or match[2], comments=True)]
        if len(words) > 1 and "..." not in words:
            yield words


@pytest.mark.parametrize("path", [path for path in DOCS if path.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_commands_in_docs_are_read_by_the_command(path: Path) -> None:
    """Names of commands and options, values of a choice, and the number of arguments."""
    from wdstream.commands.app import app

    group = get_command(app)
    wrong = []
    for words in commands_of(path):
        try:
            parse(group, words)
        except USAGE_ERROR as error:
            wrong.append(f"wdstream {shlex.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*\w(?![\w…-])")
OF_OTHERS = {
    *("accelerate", "--config_file", "--cpu", "--dynamo_backend", "--fsdp_version", "--gradient_accumulation_steps"),
    *("--machine_rank", "--main_process_ip", "--main_process_port", "--max_restarts", "--mixed_precision", "--module"),
    *("--multi_gpu", "--num_machines", "--num_processes", "--use_deepspeed", "--use_fsdp", "--use_parallelism_config"),
    *("Slurm", "--array", "--cpus-per-task", "--dependency", "--parsable", "--requeue", "--signal", "--wrap"),
    *("tar", "--concatenate", "--dereference", "--hard-dereference"),
    *("pip", "--force-reinstall", "--no-build-isolation", "hf", "--local-dir", "tensorboard", "--logdir"),
    *("tesseract", "--list-langs", "--psm", "--version", "aws", "--recursive", "ray", "--head"),
    *("timeout", "--preserve-status", "tools/", "--cache", "--list", "--packs", "--wanted"),
    *("a text that is read from the left", "--option"),
}
"""Options of other programs, and of our own tools, that docs and messages name."""


def options_of(command: Any) -> Iterator[str]:
    """All options of a command and of those below it."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for below in getattr(command, "commands", {}).values():
        yield from options_of(below)


def texts_of_the_program() -> Iterator[tuple[Path, str]]:
    """Every text in the code of the package: messages, help, docstrings."""
    for path in (ROOT / "wdstream").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def test_options_that_docs_and_messages_name() -> None:
    from wdstream.commands.app import app

    known = {*options_of(get_command(app)), "--help"} | OF_OTHERS
    texts = [*((path, path.read_text(encoding="utf-8")) for path in DOCS), *texts_of_the_program()]
    named = {(path, match[0]) for path, text in texts for match in OPTION.finditer(text)}
    assert len({option for _, option in named}) > 100
    assert not sorted(f"{path.relative_to(ROOT)}: {option}" for path, option in named if option not in known)


def parse(group: Any, words: list[str]) -> None:
    """As the command would before it runs."""
    with group.make_context("wdstream", list(words), resilient_parsing=True) as context:
        _name, command, rest = group.resolve_command(context, list(words))
        if hasattr(command, "commands"):
            parse(command, rest)
        else:
            command.make_context(words[0], rest, parent=context)
