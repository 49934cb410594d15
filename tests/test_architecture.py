"""The shape of the code: layers in one order, a core without torch, small and documented files.

Each rule is one test whose failure lists every offender.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "wdstream"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

# The flow, lowest first; folders on one layer do not import each other. docs/decisions/layers.md says why.
LAYERS = [
    ("errors",),
    ("records", "settings"),
    ("storage", "text", "tiling", "plan"),
    ("shards", "pixels"),
    ("families",),
    ("raw",),
    ("make_shards", "batches"),
    ("proofs", "nodes"),
    ("pipeline",),
    ("config",),
    ("runs", "report"),
    ("testing",),
    ("train",),
    ("commands",),
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
TORCH_FREE = {"errors", "records", "settings", "storage", "text", "tiling", "plan", "shards", "raw", "config"}
TORCH_FREE |= {"commands"}
# Offenders that are still to be mended; none may join them.
KNOWN = {
    "nodes/collate.py imports pipeline.build_pack",
    "proofs/doctor.py imports testing.tiny.build",
    "raw/readers.py imports make_shards.jobs",
}


def station(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Modules below wdstream that the file imports when it runs, also inside functions; not those for types alone."""
    for_types = {
        id(inner)
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(TREES[path]):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        else:
            continue
        yield from (name.removeprefix("wdstream.") for name in names if name.startswith("wdstream."))


def test_every_module_has_a_layer() -> None:
    assert {station(path) for path in FILES} - {"__init__", "__main__"} == set(LAYER_OF)


def test_imports_go_down_the_layers() -> None:
    offenders = {
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in FILES
        if (here := station(path)) in LAYER_OF
        for module in imports_of(path)
        if (there := module.split(".")[0]) != here and LAYER_OF[there] >= LAYER_OF[here]
    }
    assert offenders == KNOWN


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
        if station(path) in TORCH_FREE and path.name not in ("__init__.py", "demo.py")  # the demo trains
    ]
    code = f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("library", "homes"), [("torchdata", {"nodes", "pipeline"}), ("accelerate", {"train"}), ("peft", {"train"})]
)
def test_library_stays_at_home(library: str, homes: set[str]) -> None:
    for path in FILES:
        names = [a.name for n in ast.walk(TREES[path]) if isinstance(n, ast.Import) for a in n.names]
        names += [n.module or "" for n in ast.walk(TREES[path]) if isinstance(n, ast.ImportFrom)]
        if any(name.split(".")[0] == library for name in names):
            assert station(path) in homes, f"{path} imports {library}"


def test_folders_and_files_are_small_and_documented() -> None:
    offenders = [str(path) for path in FILES if path.read_text(encoding="utf-8").count("\n") > 400]
    offenders += [f"{path}: no docstring" for path in FILES if not ast.get_docstring(TREES[path])]
    folders = {path.parent for path in FILES}
    offenders += [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > 20]
    offenders += [
        f"{path}:{node.lineno} {node.name}"
        for path in FILES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines()) > 50
    ]
    assert not offenders
