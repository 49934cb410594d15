"""The map of the code in figures: files, folders, lines, functions, names, imports, docstrings.

    python tools/map_figures.py [--base REVISION] [--list]

Plain syntax trees of the files below wdstream/; nothing is imported. With --base, the same figures of another git
revision are next to them. --list names what the figures count, of this tree.

    code lines          lines with a token other than a comment or a docstring
    function's lines    the code lines of its body; a function inside another is counted in both
    public names        classes, functions and constants that a module assigns or defines at its top, without _
    doubled names       public names that two or more modules define, other than __init__ and __main__
    Any                 the name in code, its imports too, per 1,000 lines of any kind
    import cycles       groups of modules that import each other, directly or not; imports in functions count, those
                        for the type checker alone do not
    one importer        modules that exactly one other module imports, however
    short docstrings    of modules and public definitions, with fewer than four words
"""

import argparse
import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parents[1]
PACKAGE = "wdstream"
FEW_WORDS = 4
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One file.

    Attributes:
        path: below the checkout.
        text: of the file.
        tree: of its syntax.
        code: numbers of its code lines.
    """

    path: Path
    text: str
    tree: ast.Module
    code: frozenset[int]

    @property
    def name(self) -> str:
        """As imports write it."""
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")


@dataclass(slots=True)
class Figures:
    """Of one tree: figures by name, and what they count."""

    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, value: float | str, listed: Iterable[str] = ()) -> None:
        """One figure."""
        self.values[name] = value if isinstance(value, str) else f"{value:,}"
        self.lists[name] = list(listed)


def docstring_of(node: ast.AST) -> ast.Constant | None:
    """The docstring of a module, class or function; of an attribute, the string that follows it is none of these."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def code_lines(text: str, tree: ast.Module) -> frozenset[int]:
    """Numbers of the lines with code. Strings that stand alone, also under attributes, document and do not count."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return frozenset(found)


def read_modules(root: Path) -> list[Module]:
    """All modules of the package of a checkout."""
    modules = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        modules.append(Module(path=path.relative_to(root), text=text, tree=tree, code=code_lines(text, tree)))
    return modules


def functions_of(module: Module) -> Iterator[tuple[int, str]]:
    """(code lines, where) of each function."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            body = node.body[1:] if docstring_of(node) else node.body
            first, last = (body[0].lineno, body[-1].end_lineno or 0) if body else (0, -1)
            lines = len(module.code & set(range(first, last + 1)))
            yield lines, f"{module.path}:{node.lineno} {node.name} {lines}"


def public_names(module: Module) -> set[str]:
    """Names that the module itself defines at its top."""
    found: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, Definition):
            found.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
    return {name for name in found if not name.startswith("_")}


def doubled_names(modules: list[Module]) -> list[str]:
    """Public names with several homes, and the homes."""
    homes: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        if module.path.stem not in ("__init__", "__main__"):
            for name in public_names(module):
                homes[name].append(module.name)
    return [f"{name}: {', '.join(where)}" for name, where in sorted(homes.items()) if len(where) > 1]


def imports_of(module: Module, known: set[str], *, for_types: bool) -> set[str]:
    """Modules of the package that a module imports, itself left out."""
    found: set[str] = set()
    waiting: list[ast.AST] = [module.tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and not for_types and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(inner & known or {node.module})
    return (found & known) - {module.name}


def cycles(graph: dict[str, set[str]]) -> list[str]:
    """Groups of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = [*graph[start]]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting.extend(graph[module])
        reached[start] = seen
    groups = {tuple(sorted(two for two in reached[one] if one in reached[two])) for one in graph if one in reached[one]}
    return [" <-> ".join(group) for group in sorted(groups)]


def short_docstrings(module: Module) -> Iterator[str]:
    """Docstrings of fewer than four words."""
    for node in ast.walk(module.tree):
        is_public = isinstance(node, Definition) and not node.name.startswith("_")
        text = docstring_of(node) if is_public or isinstance(node, ast.Module) else None
        if text is not None and len(str(text.value).split()) < FEW_WORDS:
            yield f"{module.path}:{text.lineno} {str(text.value).strip()}"


def add_sizes(figures: Figures, modules: list[Module]) -> None:
    """Files, folders, lines, functions."""
    folders = Counter(str(module.path.parent) for module in modules)
    lines = {str(module.path): module.text.count("\n") for module in modules}
    by_length = sorted(lines, key=lambda path: -lines[path])
    roots = [module.path.name for module in modules if module.path.parent == Path(PACKAGE)]
    figures.add("product files", len(modules))
    figures.add("files at the root", len(roots), roots)
    (largest, most), *_ = folders.most_common(1)
    figures.add(
        "files of the largest folder", f"{most} ({largest})", (f"{name} {n}" for name, n in folders.most_common())
    )
    figures.add("folders", len(folders))
    figures.add("lines", sum(lines.values()))
    figures.add("code lines", sum(len(module.code) for module in modules))
    figures.add("longest file, lines", lines[by_length[0]], (f"{path} {lines[path]}" for path in by_length[:20]))
    functions = sorted(found for module in modules for found in functions_of(module))
    sizes = [size for size, _ in functions]
    p90 = statistics.quantiles(sizes, n=10, method="inclusive")[-1]
    figures.add("functions", len(functions))
    figures.add(
        "function code lines p50 / p90 / max",
        f"{statistics.median(sizes):.0f} / {p90:.0f} / {sizes[-1]}",
        (where for _, where in functions[:-21:-1]),
    )


def measure(root: Path) -> Figures:
    """All figures of a checkout."""
    modules, figures = read_modules(root), Figures()
    known = {module.name for module in modules}
    add_sizes(figures, modules)
    doubled = doubled_names(modules)
    figures.add("doubled public names", len(doubled), doubled)
    uses = {str(module.path): any_uses(module) for module in modules}
    share = 1000 * sum(uses.values()) / sum(module.text.count("\n") for module in modules)
    most = sorted(uses, key=lambda path: -uses[path])[:30]
    figures.add("Any per 1,000 lines", f"{share:.1f}", (f"{path} {uses[path]}" for path in most))
    found = cycles({module.name: imports_of(module, known, for_types=False) for module in modules})
    figures.add("import cycles", len(found), found)
    importers: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        for imported in imports_of(module, known, for_types=True):
            importers[imported].add(module.name)
    single = [f"{name} <- {next(iter(users))}" for name, users in sorted(importers.items()) if len(users) == 1]
    figures.add("modules with one importer", len(single), single)
    short = [text for module in modules for text in short_docstrings(module)]
    figures.add("docstrings under four words", len(short), short)
    return figures


def any_uses(module: Module) -> int:
    """How often a module's code says Any, its imports too."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return sum(token.type == tokenize.NAME and token.string == "Any" for token in tokens)


def measure_revision(revision: str) -> Figures:
    """The figures of a git revision, unpacked into a temporary folder."""
    command = ["git", "-C", str(HERE), "archive", revision, PACKAGE]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"{revision}: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        return measure(Path(folder))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", metavar="REVISION", help="a git revision to compare with")
    parser.add_argument("--list", action="store_true", help="name what the figures count")
    options = parser.parse_args()
    console = Console()
    here = measure(HERE)
    base = measure_revision(options.base) if options.base else None
    table = Table("figure", "this tree", *([options.base] if base else []), title=PACKAGE)
    for column in table.columns:
        column.no_wrap = True
    for name, value in here.values.items():
        table.add_row(name, value, *([base.values[name]] if base else []))
    console.print(table)
    if base:
        lines, before = (int(figures.values["code lines"].replace(",", "")) for figures in (here, base))
        console.print(f"code lines: {lines / before - 1:+.1%}", highlight=False)
    for name, listed in here.lists.items() if options.list else ():
        if listed:
            console.print(f"\n{name}", style="bold")
            console.print("\n".join(f"  {one}" for one in listed), highlight=False, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
