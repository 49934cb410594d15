"""The shape that most chat templates share: turns of text and images, each in the family's own marks."""


def chat_template(
    *, opening: str, before: str, image: str, after: str = "", generation: str = "", is_trimmed: bool = False
) -> str:
    """Contents of chat_template.jinja. Jinja expressions throughout, but for `opening`, which is template text.

    Args:
        opening: before all turns.
        before: of a turn, from `message.role`.
        image: where an image stands.
        after: of a turn; empty for families that mark its end by the next one.
        generation: what asks for an answer; empty for families that need nothing.
        is_trimmed: blanks around texts are left out.
    """
    trim = " | trim" if is_trimmed else ""
    lines = [
        opening,
        "{%- for message in messages -%}",
        f"{{{{- {before} -}}}}",
        "{%- if message.content is string -%}",
        f"{{{{- message.content{trim} -}}}}",
        "{%- else -%}",
        "{%- for part in message.content -%}",
        "{%- if part.type == 'image' -%}",
        f"{{{{- {image} -}}}}",
        "{%- elif part.type == 'text' -%}",
        f"{{{{- part.text{trim} -}}}}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- endif -%}",
    ]
    if after:
        lines.append(f"{{{{- {after} -}}}}")
    lines.append("{%- endfor -%}")
    if generation:
        lines += ["{%- if add_generation_prompt -%}", f"{{{{- {generation} -}}}}", "{%- endif -%}"]
    return "\n".join(lines) + "\n"
