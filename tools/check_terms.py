"""Words that docstrings, comments, messages and docs do not use, and what to write instead.

    python tools/check_terms.py [FILE ...]

Reads the prose of the repository: comments, strings and the names of functions and classes in Python files (of tests,
docstrings instead of all strings: the others are data), whole texts in YAML, templates and Markdown, where `code spans`
quote words instead of using them. Prints each offence with its place and the better word; exit status 1 when there is
any. docs/glossary.md says what the project's own words mean.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[1]
ROOTS = ("wdstream", "tools", "tests", "docs", "configs", "examples", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SUFFIXES = {".py", ".md", ".yaml", ".jinja"}

COUNTED = (
    "tokens?|packs?|pages?|patches|samples?|bytes|[kMG]i?B|ms|us|s|seconds?|milliseconds?|threads?|lines?|files?|"
    "descriptors?|counters?|rows?|images?|records?|documents?|steps?|entries|columns?|bits?|gathers?|tiles?|lists?|sets?"
)
ALLOWED = {
    ("wdstream/runs/layout.py", "straggler"),  # read from the metrics of older runs
    ("wdstream/raw/texts/file_texts.py", "beside"),  # in reasons that finished shards have recorded
    ("wdstream/raw/pdf/pages.py", "beside"),
    ("tests/make_shards/test_job.py", "beside"),
}
EACH = (
    "step|page|pack|sample|shard|rank|row|token|process|lane|dataset|image|tile|document|pixel|tar|tokenizer|file|"
    "family|forward pass|megapixel|megabyte|patch|batch|worker|line|micro-step|micro-batch|second|set|message|epoch|"
    "log line|piece"
)
TERMS = {
    r"(un)?learnt": "supervised, trained on",
    r"anew|afresh": "again",
    r"lies?|lain": "is, are",
    r"(stands?|standing|stood)(?! (for|alone)\b)": "is, are (a symbol stands for what it means)",
    r"told(?! apart)": "reported, said in, called with",
    r"(go|goes|going|went|gone) on": "continue",
    r"so (many|often|much as)": "this many, as many, as often",
    rf"({COUNTED}) an? ({EACH})(?! (comes?|is|are|has|was|gives?|takes?)\b)": "per",
    r"the given|givens?(?= (texts?|turns?|parts?)\b)|only given": "prompt text, text that is not supervised",
    r"stragglers?": "imbalance (max / mean over the ranks)",
    r"beside": "next to, with, besides",
    r"behind(?! (a|the) (command|server|proxy)\b)": "after",
    r"data sets?": "dataset",
    r"affairs?": "is up to",
    r"parted by": "separated by",
    r"in silence": "silently",
    r"held against|hold(s|ing)?( \w+){0,3} against": "compared with",
    r"in all(?=[).,;:\]])": "in total",
    r"per cent": "percent",
    r"for ever": "forever",
    r"in the mean(?! (colou?r|value))": "on average",
    r"(?<!here\s)(?<!it\s)(is|are|was|were)\s+no\s+(?!longer|more|less|other|such|reason|limit|way)[a-z]+": "is not a",
    r"runs? of (text|tokens|ids|one id)": "span of",
    r"(a|each|every|this|next|of the|of a) rounds?(?! (trip|robin))": "pass over the mixture",
    r"(local|tiny|real|foreign) checkpoints?|checkpoint (folder|director(y|ies))": "model folder, model",
    r"rulers?|waypoints?|whereabouts|crews?|dealers?|seams?": "the renamed thing (docs/glossary.md)",
}
# One group for each term. Between its words: spaces, line ends, the underscores of names, which end words, too.
PATTERN = re.compile(
    "(?<![^\\W_])(?:"
    + "|".join(f"({re.sub('[(](?![?])', '(?:', term)})" for term in TERMS).replace(" ", r"[\s_]+")
    + ")(?![^\\W_])",
    re.IGNORECASE,
)
BETTER = tuple(TERMS.values())
CODE_SPAN = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """A term that a text uses.

    Attributes:
        path: of the file, below the repository.
        line: number of the line, from 1.
        words: as written.
        better: what to write instead.
    """

    path: Path
    line: int
    words: str
    better: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.words}': write {self.better}"


def prose_files(root: Path = HERE) -> list[Path]:
    """Every file with prose in the repository, this one left out."""
    roots = [root / name for name in ROOTS]
    paths = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return [path for path in paths if path.suffix in SUFFIXES and path.name != Path(__file__).name]


def prose_of(path: Path, *, keep_code: bool = False) -> Iterator[tuple[int, str]]:
    """Texts of a file with the numbers of their first lines; `keep_code`: also the code spans of Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from python_prose(text, all_strings="tests" not in path.parts)
    elif path.suffix == ".md" and not keep_code:
        yield 1, CODE_SPAN.sub(lambda span: "`" * len(span[0]), text)
    else:
        yield 1, text


def python_prose(source: str, *, all_strings: bool) -> Iterator[tuple[int, str]]:
    """Comments, docstrings (or all strings) and names of definitions."""
    yield from comments(source)
    tree = ast.parse(source)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
            inner.add(id(node.value))
        elif all_strings and isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(getattr(part, "value", "")) if id(part) in inner else "" for part in node.values),
            )
        elif all_strings and isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments, those of neighbouring lines as one text."""
    first, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != first + len(lines):
            yield first, "\n".join(lines)
            lines = []
        first = first if lines else token.start[0]
        lines.append(token.string.removeprefix("#"))
    if lines:
        yield first, "\n".join(lines)


def offences(path: Path, root: Path = HERE) -> list[Offence]:
    """What a file should say otherwise, in order of lines."""
    found = [
        Offence(
            path=path.relative_to(root),
            line=first + text.count("\n", 0, match.start()),
            words=" ".join(match[0].split()),
            better=BETTER[(match.lastindex or 1) - 1],
        )
        for first, text in prose_of(path)
        for match in PATTERN.finditer(text)
        if (str(path.relative_to(root)), match[0]) not in ALLOWED
    ]
    return sorted(found, key=lambda offence: offence.line)


def main() -> int:
    """Check the files named, or all; print, and return the exit status."""
    paths = [Path(name).resolve() for name in sys.argv[1:]] or prose_files()
    found = [offence for path in paths for offence in offences(path)]
    for offence in found:
        print(offence)
    print(f"{len(found)} offences in {len({offence.path for offence in found})} of {len(paths)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
