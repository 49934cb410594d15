"""A process that renders chat templates, which are programs of strangers: `python -m wdstream.text.template_process`.

It reads one JSON object per line from standard input and answers each with one on standard output:

    {"source", "variables", "cpu_seconds"}  ->  {"text"}        what the template wrote
                                                {"refused"}     it raises: why
                                                {"unreadable"}  it is not a template: why
                                                {"limit"}       it wants more than it may have: of what

Templates run in jinja2's sandbox, as transformers runs them, without the clock and without random numbers. The sandbox
keeps them from the machine, not from its time and memory: an endless loop, or a string of 10 GB, ends this process and
nothing else. Memory is limited for the whole process, CPU time for each request; both by the system.
"""

import json
import re
import resource
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes
    from jinja2.parser import Parser

MAX_MEMORY = 1 << 30
"""Bytes of address space, those of Python and jinja2 included (about 50 MB)."""
MAX_CHARACTERS = 1 << 22
"""Of what a template writes."""
_ADDRESS = re.compile(" at 0x[0-9a-f]+>")
"""`<built-in method items of dict object at 0x7f...>`: a method that a template names and does not call."""


def answer_requests() -> None:
    """Answer requests until standard input ends."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, MAX_MEMORY)
    for line in sys.stdin:
        request = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The limit counts whole seconds of the process's life: at least those asked for, at most one more.
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + request["cpu_seconds"])
        sys.stdout.write(json.dumps(_answer(request["source"], request["variables"])) + "\n")
        sys.stdout.flush()


def _limit(kind: int, most: int) -> None:
    """Lower a soft limit of the system, or raise it again up to the hard one."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(source: str, variables: dict[str, object]) -> dict[str, str]:
    from jinja2 import TemplateError

    try:
        try:
            template = _compiled(source)
        except (TemplateError, SyntaxError, ValueError) as error:
            return {"unreadable": _described(error)}
        text = template.render(**variables)
    except MemoryError:
        return {"limit": f"{MAX_MEMORY >> 20} MB of memory"}
    except RecursionError:
        return {"limit": f"{sys.getrecursionlimit()} calls inside of calls"}
    except Exception as error:  # whatever a program of strangers raises
        return {"refused": _described(error)}
    if len(text) > MAX_CHARACTERS:
        return {"limit": f"{MAX_CHARACTERS:,} characters of output"}
    if found := _ADDRESS.search(text):
        before = text[max(0, found.start() - 80) : found.start()]
        return {"refused": f"it writes where an object is in memory, which differs from process to process: {before}>"}
    return {"text": text}


def _described(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error)[:2000].split()) or type(error).__name__


@lru_cache(maxsize=16)
def _compiled(source: str) -> "Template":
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    """`strftime_now` is left undefined: today's date in a training text would change its ids from day to day."""
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` ... `{% endgeneration %}` around answers in some templates: the body alone."""

        tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

        def parse(self, parser: "Parser") -> list["nodes.Node"]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def to_json(value: object, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    extensions: list[type[Extension]] = [Generation, loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    del environment.filters["random"], environment.globals["lipsum"]
    return environment


if __name__ == "__main__":
    answer_requests()
