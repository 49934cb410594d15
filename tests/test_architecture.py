"""The shape of the code: imports go one way, the core needs no torch, files stay small and documented."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "wdstream"
FILES = sorted(PACKAGE.rglob("*.py"))

# The flow, lowest first; modules on one level do not import each other.
LEVELS = [
    {"records", "errors", "config_data"},
    {"config", "world", "chat"},
    {"pages", "shards", "plan"},
    {"pixels"},
    {"families"},
    {"batches"},
    {"nodes"},
    {"pipeline"},
    {"lane_pipeline"},
]
EDGES = {
    "train",
    "cli",
    "cli_cache",
    "cli_evaluate",
    "cli_inspect",
    "make_shards",
    "digest",
    "demo",
    "testing",
    "doctor",
    "show",
    "trace",
    "trace_listed",
    "whereabouts",
    "audit",
    "report",
}
LEVEL_OF = {name: number for number, names in enumerate(LEVELS) for name in names}
# Writing a file atomically is needed on both sides of the same level.
ALLOWED = {("plan", "shards.atomic"), ("pages", "shards.atomic")}


def imports_of(path: Path) -> Iterator[str]:
    """Modules below wdstream that the file imports, anywhere in it, TYPE_CHECKING blocks and functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        else:
            continue
        yield from (name.removeprefix("wdstream.") for name in names if name.startswith("wdstream."))


def station(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_a_place() -> None:
    assert {station(path) for path in FILES} - {"__init__", "__main__"} <= set(LEVEL_OF) | EDGES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    here = station(path)
    if here not in LEVEL_OF:
        return
    for module in imports_of(path):
        there = module.split(".")[0]
        assert there not in EDGES, f"{path}: the core imports an edge, wdstream.{module}"
        is_same_package = there == here
        assert is_same_package or LEVEL_OF[there] < LEVEL_OF[here] or (here, module) in ALLOWED, (
            f"{path}: {here} may not import wdstream.{module}"
        )


def test_no_import_cycles() -> None:
    graph = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): set(imports_of(path)) for path in FILES}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module in done:
            return
        for inner in graph.get(module, ()):
            visit(inner, (*trail, module))
        done.add(module)

    done: set[str] = {"__init__"}
    for module in graph:
        visit(module, ())


def test_core_needs_no_torch() -> None:
    modules = [
        "wdstream." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in FILES
        if station(path) in {"pages", "shards", "plan", "records", "errors", "config", "world", "cli", "cli_inspect"}
        and path.name != "__init__.py"
    ]
    code = f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("library", "homes"), [("torchdata", {"nodes", "pipeline"}), ("accelerate", {"train"}), ("peft", {"train"})]
)
def test_library_stays_at_home(library: str, homes: set[str]) -> None:
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        if any(name.split(".")[0] == library for name in names):
            assert station(path) in homes, f"{path} imports {library}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_small_and_documented(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= 300
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node)
            lines = (node.end_lineno or 0) - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)
            assert lines <= 50, f"{path}:{node.lineno} {node.name} has {lines} lines"
