"""Chat rows under templates with the habits of the published ones: against transformers' own rendering, to the id.

qwen       a system turn by default; answers of tools inside a user's turn, neighbours in one
smolvlm    one opening token, roles as words
gemma3     the system's text goes into the first turn of the user; roles alternate, or the row is refused
llava      the images of a turn come first, its texts after newlines; answers in generation marks
"""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chats import IMAGE, build, chat_page, reference_ids, supervised_text, text, turn, with_eos
from tests.helpers.hugging_face import load_both
from tests.helpers.published import copy_settings
from wdstream.errors import RowError
from wdstream.families.shared.chat import render_chat

QWEN = """\
{%- for m in messages -%}
{%- if loop.first and m.role != 'system' -%}{{- '<|im_start|>system\\nYou help.<|im_end|>\\n' -}}{%- endif -%}
{%- if m.role != 'tool' -%}{{- '<|im_start|>' ~ m.role ~ '\\n' -}}
{%- elif loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{%- if m.role == 'tool' -%}{{- '\\n<tool_response>\\n' -}}{%- endif -%}
{%- for part in m.content -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text -}}
{%- endfor -%}
{%- if m.role == 'tool' -%}{{- '\\n</tool_response>' -}}{%- endif -%}
{%- if m.role != 'tool' or loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
"""
SMOLVLM = """\
{{- '<|im_start|>' -}}
{%- for m in messages -%}
{{- m.role | capitalize -}}{{- ':' if m.content[0].type == 'image' else ': ' -}}
{%- for part in m.content -%}{{- '<image>' if part.type == 'image' else part.text -}}{%- endfor -%}
{{- '<end_of_utterance>\\n' -}}
{%- endfor -%}
"""
GEMMA3 = """\
{{- bos_token -}}
{%- set ns = namespace(opening='') -%}
{%- set turns = messages -%}
{%- if messages[0].role == 'system' -%}
{%- set ns.opening = messages[0].content[0].text ~ '\\n\\n' -%}
{%- set turns = messages[1:] -%}
{%- endif -%}
{%- for m in turns -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{- raise_exception('roles must alternate') -}}{%- endif -%}
{{- '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\\n' -}}
{%- if loop.first -%}{{- ns.opening -}}{%- endif -%}
{%- for part in m.content -%}
{%- if part.type == 'image' -%}{{- '<start_of_image>' -}}{%- else -%}{{- part.text | trim -}}{%- endif -%}
{%- endfor -%}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
"""
LLAVA = """\
{%- for m in messages -%}
{{- '<|im_start|>' ~ m.role ~ ' ' -}}
{%- for part in m.content | selectattr('type', 'equalto', 'image') -%}{{- '<image>' -}}{%- endfor -%}
{%- for part in m.content | selectattr('type', 'equalto', 'text') -%}
{%- if m.role == 'assistant' -%}{% generation %}{{- '\\n' ~ part.text -}}{% endgeneration %}
{%- else -%}{{- '\\n' ~ part.text -}}{%- endif -%}
{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endfor -%}
"""
TEMPLATES = {"qwen2_5_vl": QWEN, "smolvlm": SMOLVLM, "gemma3": GEMMA3, "llava_onevision": LLAVA}
SYSTEM = turn("system", text("You read documents."))
ASKED = [
    turn("user", IMAGE, text("What is it?"), IMAGE),
    turn("assistant", text("Two pages.")),
    turn("user", text("And here?"), IMAGE),
    turn("assistant", text("A third, 漢字.")),
]
TOOLS = [
    turn("user", text("Which day is it?")),
    turn("assistant", text('<tool_call>\n{"name": "day", "arguments": {}}\n</tool_call>')),
    turn("tool", text("Monday")),
    turn("tool", text("the 3rd")),
    turn("assistant", text("Monday, the 3rd.")),
]


@pytest.fixture(params=TEMPLATES)
def both(request: pytest.FixtureRequest, tiny_models: dict[str, Path], tmp_path: Path) -> tuple[Any, Any]:
    """A family whose checkpoint has the template, and its processor."""
    model = copy_settings(tiny_models[request.param], tmp_path / "model")
    (model / "chat_template.jinja").write_text(TEMPLATES[request.param], encoding="utf-8")
    return load_both(model)


@pytest.mark.parametrize("has_system", [True, False], ids=["system", "plain"])
def test_turns_with_images_are_written_as_transformers_writes_them(has_system: bool, both: tuple[Any, Any]) -> None:
    family, processor = both
    messages = [SYSTEM, *ASKED] if has_system else ASKED
    ours, theirs = (
        build(messages, family).input_ids.tolist(),
        with_eos(reference_ids(messages, family, processor), family),
    )
    if family.processor_rules().melts_newlines:  # the same text; newlines around an image are tokens of their own
        assert family.encoder.decode(ours) == family.encoder.decode(theirs)
    else:
        assert ours == theirs


ENDS = {
    "qwen2_5_vl": ("<|im_end|>", ""),
    "smolvlm": ("<end_of_utterance>", " "),
    "gemma3": ("<end_of_turn>", ""),
    "llava_onevision": ("<|im_end|>", ""),
}


@pytest.mark.parametrize("loss", ["all", "last", "flag"])
def test_answers_alone_are_supervised(loss: str, both: tuple[Any, Any]) -> None:
    family, _ = both
    end, before = ENDS[family.name]
    first, second = (f"{before}{answer}{end}" for answer in ("Two pages.", "A third, 漢字."))
    messages = [SYSTEM, *ASKED]
    if loss != "all":
        place = {"last": -1, "flag": 2}[loss]
        messages[place] = {**messages[place], "train": True}
    supervised = supervised_text(build(messages, family), family).removesuffix("<eos>")
    assert supervised == {"all": first + second, "last": second, "flag": first}[loss]


def test_turns_of_tools_are_text_that_is_given(both: tuple[Any, Any]) -> None:
    """Calls are supervised as the answers that they are, what tools say is not; Gemma 3's template has no such role."""
    family, processor = both
    if family.name == "gemma3":
        with pytest.raises(RowError, match="roles must alternate"):
            render_chat(chat_page(TOOLS), family)
        return
    sample = build(TOOLS, family)
    supervised = supervised_text(sample, family)
    assert "tool_call" in supervised and "Monday, the 3rd." in supervised and "Monday\n" not in supervised
    written = family.encoder.decode(sample.input_ids.tolist())
    assert written.index("</tool_call>") < written.index("the 3rd") < written.index("Monday, the 3rd.")
    theirs = family.encoder.decode(with_eos(reference_ids(TOOLS, family, processor), family))
    assert written == theirs
