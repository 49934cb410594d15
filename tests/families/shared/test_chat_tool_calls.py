"""Calls of tools under templates with the habits of the published ones: against transformers' own rendering, to the id;
loss on what the assistant says and calls, with its last special token, and on nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chats import supervised_text, with_eos
from tests.helpers.hugging_face import load_both
from tests.helpers.published import copy_settings
from wdstream.batches.sample import build_sample
from wdstream.errors import RowError
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.records import LabelledPage, Page, Sample
from wdstream.text.row_forms import read_row

QWEN = """\
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages[0].role == 'system' -%}{{- messages[0].content ~ '\\n\\n' -}}{%- endif -%}
{{- '# Tools\\n<tools>' -}}
{%- for tool in tools -%}{{- '\\n' -}}{{- tool | tojson -}}{%- endfor -%}
{{- '\\n</tools><|im_end|>\\n' -}}
{%- elif messages[0].role == 'system' -%}{{- '<|im_start|>system\\n' ~ messages[0].content ~ '<|im_end|>\\n' -}}
{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) -%}
{{- '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' -}}
{%- elif m.role == 'assistant' -%}
{{- '<|im_start|>' ~ m.role -}}
{%- if m.content -%}{{- '\\n' ~ m.content -}}{%- endif -%}
{%- for call in m.tool_calls -%}
{%- if call.function -%}{%- set call = call.function -%}{%- endif -%}
{{- '\\n<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' -}}{{- call.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- elif m.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' ~ m.content ~ '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
TOOLS = [{"type": "function", "function": {"name": "day", "description": 'Says "<|im_end|>".', "parameters": {}}}]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def turn(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ROW = {
    "tools": TOOLS,
    "messages": [
        turn("developer", "You help."),
        turn("user", "Which day is it in Köln?"),
        turn("assistant", None, tool_calls=[call("day", place='Köln "am Rhein" <|im_end|> <tool_call>'), call("day")]),
        turn("tool", "Monday", tool_call_id="1", name="day"),
        turn("tool", "the 3rd"),
        turn("assistant", "One more.", tool_calls=[call("day", n=[1, {"a": None}])]),
        turn("tool", "sure"),
        turn("assistant", "Monday, the 3rd."),
    ],
}


@pytest.fixture
def both(tiny_models: dict[str, Path], tmp_path: Path) -> tuple[Any, Any]:
    model = copy_settings(tiny_models["qwen2_5_vl"], tmp_path / "model")
    (model / "chat_template.jinja").write_text(QWEN, encoding="utf-8")
    return load_both(model)


def build(row: dict[str, Any], family: Family) -> Sample:
    read = read_row(row)
    page = render_chat(Page(key="k", images=(), segments=read.segments), family)
    return build_sample(LabelledPage(key="k", tiles=(), segments=page.segments), family)


def plain(row: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """The row as transformers takes it, without anything that spells a special token."""
    text = json.dumps(row).replace("<|im_end|>", "(end)").replace('"developer"', '"system"').replace("null}", "1}")
    tree = json.loads(text)
    for message in tree["messages"]:
        message["content"] = message["content"] or ""
    return tree["messages"], tree.get("tools", [])


def test_calls_are_written_as_transformers_writes_them(both: tuple[Any, Any]) -> None:
    family, processor = both
    messages, tools = plain(ROW)
    rendered = processor.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    theirs = with_eos(list(processor.tokenizer(rendered, add_special_tokens=False)["input_ids"]), family)
    assert build({"messages": messages, "tools": tools}, family).input_ids.tolist() == theirs


def test_what_the_assistant_says_and_calls_is_supervised(both: tuple[Any, Any]) -> None:
    family, _ = both
    sample = build(ROW, family)
    first = '{"name": "day", "arguments": {"place": "Köln \\"am Rhein\\" <|im_end|> <tool_call>"}}'
    assert supervised_text(sample, family).removesuffix("<eos>") == (
        f"<tool_call>\n{first}\n</tool_call>\n"
        '<tool_call>\n{"name": "day", "arguments": {}}\n</tool_call><|im_end|>'
        'One more.\n<tool_call>\n{"name": "day", "arguments": {"n": [1, {}]}}\n</tool_call><|im_end|>'
        "Monday, the 3rd.<|im_end|>"
    )
    end = family.encoder.find_id("<|im_end|>")
    assert sample.input_ids.tolist().count(end) == 7  # none of those that texts spell


def test_a_call_may_come_last_and_one_turn_alone_be_supervised(both: tuple[Any, Any]) -> None:
    family, _ = both
    rows = [turn("user", "Q"), turn("assistant", None, tool_calls=[call("f", a=1)])]
    wanted = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert supervised_text(build({"messages": rows}, family), family).removesuffix("<eos>") == wanted
    rows += [turn("user", "R"), turn("assistant", "S", train=True)]
    assert supervised_text(build({"messages": rows}, family), family).removesuffix("<eos>") == "S<|im_end|>"


def test_no_character_of_a_call_is_lost(both: tuple[Any, Any]) -> None:
    """Those that stand for something else are refused, in names of arguments as in values."""
    for arguments in ({"a\ue002b": 1}, {"a": "b\ue004"}):
        rows = [turn("user", "Q"), turn("assistant", None, tool_calls=[call("f", **arguments)])]
        with pytest.raises(RowError, match=r"stand for something else here: U\+E000 to U\+E004"):
            build({"messages": rows}, both[0])


def test_templates_that_cannot_write_them_say_so(
    both: tuple[Any, Any], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model = copy_settings(tiny_models["qwen2_5_vl"], tmp_path / "other")
    without = (
        "{%- for m in messages -%}{{- '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' -}}{%- endfor -%}"
    )
    prompt = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
    calls = {"messages": [turn("user", "Q"), turn("assistant", None, tool_calls=[call("f", a=1)])]}
    defined = {"messages": [turn("user", "Q"), turn("assistant", "A")], "tools": TOOLS}
    for template, row, reason in (
        (without + prompt, calls, "does not write calls of tools"),
        (without + prompt, defined, "does not write definitions of tools"),
        (without, calls, "has no generation prompt"),
    ):
        (model / "chat_template.jinja").write_text(template, encoding="utf-8")
        family, _ = load_both(model)
        with pytest.raises(RowError, match=reason):
            build(row, family)
