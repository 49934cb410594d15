"""Chat templates in jinja2's sandbox, as transformers runs them, but for the clock; imported when a chat row comes."""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["TemplateError", "compile_template", "render_template"]


def compile_template(source: str) -> Template:
    """A template ready to render.

    `strftime_now` is left undefined on purpose: today's date in a training text would change its ids from day to day.

    Raises:
        TemplateError: it cannot be read.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    return environment.from_string(source)


def render_template(template: Template, variables: Mapping[str, Any]) -> str:
    """The template's text.

    Raises:
        TemplateError: it refuses the variables.
    """
    return template.render(**variables, add_generation_prompt=False, tools=None, documents=None)


class _Generation(Extension):
    """`{% generation %}` ... `{% endgeneration %}` around answers in some templates: the body alone."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)
