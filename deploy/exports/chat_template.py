"""The chat template of an exported LLaVA: word for word the prompt of training and judging."""

from __future__ import annotations

from common.models.families.llava import TEMPLATE

USER, IMAGE, ASSISTANT = "USER: ", "<image>\n", "ASSISTANT:"
# Images come first in a turn, as in training. A turn's content is plain text, or a list of parts.
TURNS = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}"
    "{{- '%(user)s' -}}"
    "{%- if message['content'] is string -%}"
    "{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] if part['type'] in ('image', 'image_url') -%}{{- '%(image)s' -}}{%- endfor -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}"
    "{%- endif -%}"
    "{{- ' ' -}}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{- '%(assistant)s ' -}}"
    "{%- if message['content'] is string -%}"
    "{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}"
    "{%- endif -%}"
    "{{- '</s>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '%(assistant)s' -}}{%- endif -%}"
)
# A system turn of the caller's takes the place of the sentence that the model was trained with.
SYSTEM = (
    "{%%- if messages and messages[0]['role'] == 'system' -%%}"
    "{%%- if messages[0]['content'] is string -%%}"
    "{{- messages[0]['content'] ~ ' ' -}}"
    "{%%- else -%%}"
    "{%%- for part in messages[0]['content'] -%%}{{- part['text'] -}}{%%- endfor -%%}{{- ' ' -}}"
    "{%%- endif -%%}"
    "{%%- else -%%}"
    "{{- %r -}}"
    "{%%- endif -%%}"
)


def chat_template() -> str:
    """Jinja source; `apply_chat_template` of one image and one text with a generation prompt gives the prompt."""
    system, _, _ = TEMPLATE.partition(USER)
    parts = {"user": USER, "image": IMAGE.replace("\n", "\\n"), "assistant": ASSISTANT}
    return SYSTEM % system + _filled(TURNS, parts)


def _filled(template: str, parts: dict[str, str]) -> str:
    for name, text in parts.items():
        template = template.replace(f"%({name})s", text)
    return template
