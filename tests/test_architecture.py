"""The shape of the code: layers in one order, a core without torch, small and documented files, tests next to modules.

Each rule is one test whose failure lists every offender.
"""

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

from map_figures import (
    any_uses,
    cycles,
    docstring_of,
    doubled_names,
    functions_of,
    imports_of,
    read_modules,
    short_docstrings,
)
from tests.helpers.paths import ROOT

MODULES = {module.name: module for module in read_modules(ROOT)}

# The flow, lowest first; folders on one layer do not import each other. docs/decisions/layers.md says why.
LAYERS = [
    ("errors",),
    ("records", "settings"),
    ("storage", "text", "tiling", "plan"),
    ("shards", "pixels"),
    ("families",),
    ("raw",),
    ("make_shards", "batches"),
    ("proofs", "nodes", "verify"),
    ("pipeline", "curation"),
    ("config",),
    ("runs",),
    ("report",),
    ("testing",),
    ("train",),
    ("commands",),
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
TORCH_FREE = {"errors", "records", "settings", "storage", "text", "tiling", "plan", "shards", "raw", "config"}
TORCH_FREE |= {"commands"}
ROOT_MODULES = {"wdstream", "wdstream.__main__", "wdstream.errors", "wdstream.records", "wdstream.settings"}
HOMES = {"torchdata": {"nodes", "pipeline"}, "accelerate": {"train"}, "peft": {"train"}}
"""Library -> the only stations that may import it."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_P90_FUNCTION_LINES = 15
"""Of code: docstrings and comments are left out."""
MAX_FOLDER_FILES = 20
MAX_FILES = 580
"""A quarter of them are small files of `raw/`: one per source, format of texts, or step of reading a PDF."""
MAX_ANY = 6
"""Per 1,000 lines."""

# Names that a package lends from a layer above it, on first use (docs/decisions/layers.md).
UPWARD = {"wdstream.make_shards imports wdstream.report.progress"}


def station(module: str) -> str:
    """The folder or root module below wdstream; "" for the package itself."""
    return f"{module}.".split(".")[1]


def imports(name: str) -> set[str]:
    """Modules that a module imports, inside functions and for types alone too; a package also those that it names to
    import them on first use."""
    module = MODULES[name]
    found = imports_of(module, set(MODULES), for_types=True)
    if module.path.name == "__init__.py":
        texts = {str(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Constant)}
        found |= texts & set(MODULES)
    return found - {name}


def test_every_module_has_a_layer() -> None:
    assert {station(name) for name in MODULES} - {"", "__main__"} == set(LAYER_OF)


def test_imports_go_down_the_layers() -> None:
    """Below a station everything may import everything."""
    upward = {
        f"{name} imports {imported}"
        for name in MODULES
        if (here := station(name)) in LAYER_OF
        for imported in imports(name)
        if (there := station(imported)) != here and LAYER_OF.get(there, len(LAYERS)) >= LAYER_OF[here]
    }
    assert not upward - UPWARD


def test_imports_make_no_cycle() -> None:
    assert not cycles({name: imports_of(MODULES[name], set(MODULES), for_types=False) for name in MODULES})


def test_imports_are_absolute() -> None:
    """So that what reads them, here and elsewhere, sees them all."""
    relative = [
        f"{module.path}:{node.lineno}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_core_needs_no_torch() -> None:
    modules = [
        name
        for name in MODULES
        if station(name) in TORCH_FREE and name != "wdstream.commands.demo"  # the demo trains
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_training_needs_no_processors() -> None:
    """The Hugging Face side of the proofs comes in where `pixels: reference` or the check of the first step asks."""
    modules = [name for name in MODULES if station(name) in {"pipeline", "nodes", "train"} and "__main__" not in name]
    code = (
        "import sys, importlib\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'wdstream.families.reference' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_a_start_imports_no_stores_and_no_tables() -> None:
    """A job starts a process per core, and every command the command: what few of them need is imported by these."""
    late = {"langcodes", "tenacity", "asyncio", "urllib.request", "http.client", "wdstream.raw.remote.store"}
    for name in ("wdstream.make_shards.worker_main", "wdstream.commands.app"):
        code = f"import sys, {name}; print(*sorted({late} & {{*sys.modules}}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [], name


def test_libraries_stay_at_home() -> None:
    offenders = [
        f"{module.path} imports {library}"
        for name, module in MODULES.items()
        for library, homes in HOMES.items()
        if library in imported_libraries(module.tree) and station(name) not in homes
    ]
    assert not offenders


def imported_libraries(tree: ast.Module) -> set[str]:
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_the_root_holds_vocabulary_only() -> None:
    found = {name for name, module in MODULES.items() if len(module.path.parts) == 2}
    assert not found - ROOT_MODULES


def test_files_functions_and_folders_are_small() -> None:
    modules = MODULES.values()
    lengths = {str(module.path): module.text.count("\n") for module in modules}
    offenders = [f"{path} {lines} lines" for path, lines in lengths.items() if lines > MAX_FILE_LINES]
    functions = [found for module in modules for found in functions_of(module)]
    offenders += [f"{where} code lines" for lines, where in functions if lines > MAX_FUNCTION_LINES]
    folders = Counter(str(module.path.parent) for module in modules)
    offenders += [f"{folder} {files} files" for folder, files in folders.items() if files > MAX_FOLDER_FILES]
    assert not offenders
    assert statistics.quantiles((lines for lines, _ in functions), n=10)[-1] <= MAX_P90_FUNCTION_LINES
    assert len(MODULES) <= MAX_FILES


def test_modules_are_documented() -> None:
    assert not [str(module.path) for module in MODULES.values() if docstring_of(module.tree) is None]
    assert not [where for module in MODULES.values() for where in short_docstrings(module)], "they say nothing"


def test_a_public_name_is_defined_once() -> None:
    assert not doubled_names([*MODULES.values()])


def test_any_is_rare() -> None:
    uses = Counter({str(module.path): any_uses(module) for module in MODULES.values()})
    share = 1000 * uses.total() / sum(module.text.count("\n") for module in MODULES.values())
    assert share <= MAX_ANY, uses.most_common(20)


def test_tests_are_next_to_their_modules_or_say_what_they_span() -> None:
    """tests/plan/test_deal.py and test_deal_more.py test wdstream/plan/deal.py, and tests/tools those of tools/. The
    docstring of any other test module has a line "Spans: " with stations, or docs."""
    offenders = [
        str(path)
        for path in (path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py")))
        if path.name != "test_architecture.py"  # which is about all of them
        and not mirrors(path)
        and not spans(ROOT / path)
    ]
    assert not offenders, "name it after a module of that folder, or write 'Spans: ' and stations"


def mirrors(path: Path) -> bool:
    home = ROOT if path.parts[1] == "tools" else ROOT / "wdstream"
    folder, name = home / Path(*path.parts[1:-1]), path.stem.removeprefix("test_")
    modules = (file.stem for file in folder.glob("*.py"))
    return any(f"{name}_".startswith(f"{module}_") for module in modules if module != "__init__")


def spans(path: Path) -> bool:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    listed = [line.removeprefix("Spans: ") for line in docstring.splitlines() if line.startswith("Spans: ")]
    return bool(listed) and {*re.findall(r"\w+", listed[0])} <= {*LAYER_OF, "docs"}
