"""Messages as transformers has them, written down for the language model as `vxl serve` does."""

from collections.abc import Mapping, Sequence
from typing import Any

from vxl.data.batch.chat import Chat, Said, said
from vxl.data.batch.encoded import Encoded, Shown
from vxl.export.media import KINDS

Message = Mapping[str, Any]
TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}{{ SYSTEM }}{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string -%}{{ message['content'] }}
{%- else -%}
{%- set seen = namespace(runs=0, before=false, texts=[], own=[]) -%}
{%- for part in message['content'] -%}
{%- if part['type'] != 'text' and not seen.before -%}{%- set seen.runs = seen.runs + 1 -%}{%- endif -%}
{%- set seen.before = part['type'] != 'text' -%}
{%- if seen.before -%}
{%- set seen.texts = seen.texts + [seen.own | join('\\n')] -%}{%- set seen.own = [] -%}
{%- else -%}{%- set seen.own = seen.own + [part['text']] -%}{%- endif -%}
{%- endfor -%}
{%- set seen.texts = seen.texts + [seen.own | join('\\n')] -%}
{%- if seen.runs == 1 -%}
{%- set spoken = message['content'] | selectattr('type', 'equalto', 'text') -%}
{%- set words = spoken | map(attribute='text') | join('\\n') -%}
{{ (['<image>'] * (seen.texts | length - 1)) | join('\\n') }}{{ '\\n' + words if words else '' }}
{%- else -%}
{%- for text in seen.texts -%}
{{ '' if loop.first else '<image>' }}{{ '\\n' if text and not loop.first else '' }}{{ text }}
{{- '\\n' if text and not loop.last else '' }}
{%- endfor -%}
{%- endif -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
"""ChatML as `Chat` writes it, a placeholder for each visual; `SYSTEM` is the turn that messages may bring."""


class Conversations(Chat):
    """Writes conversations down, the assistant's next words open or not."""

    def written(
        self, turns: Sequence[Said], shown: Sequence[Shown], *, opens: bool, goes_on: bool
    ) -> Encoded:
        """A conversation in one piece.

        Args:
            turns: They, the user's first.
            shown: The visuals of all turns, in order.
            opens: Whether it ends in the header of the assistant's next turn.
            goes_on: Whether it ends in the middle of the last turn, the assistant's.

        Raises:
            DataError: Turns and `shown` differ in how many visuals there are.
        """
        is_answered = turns[-1].role == "assistant"
        encoded, behind = self.conversation(turns, shown, goes_on=is_answered)
        encoded.text(behind, question=True)
        header = [self.start, *self._ids("assistant\n")]
        if is_answered and not goes_on:
            encoded.text([self.end, *self._ids("\n"), *(header if opens else [])], question=True)
        elif not is_answered and not opens:
            encoded = encoded.until(len(encoded) - len(header))
        return encoded


def turn_of(message: Message) -> Said:
    """A message as a turn.

    Raises:
        ValueError: It is no role that may speak here.
    """
    if message["role"] not in ("user", "assistant"):
        raise ValueError(f"role {message['role']!r}; allowed: user and assistant, and system for the first")
    if "texts" in message:  # it was written already
        return Said(message["role"], tuple(message["texts"]))
    return said(
        message["role"], [part["text"] if part["type"] == "text" else None for part in parts_of(message)]
    )


def parts_of(message: Message) -> list[Mapping[str, Any]]:
    """The parts of a message's content.

    Raises:
        ValueError: One is of a kind that the model has no sense for.
    """
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    for part in parts:
        if part.get("type") not in (*KINDS, "text"):
            raise ValueError(f"a part of type {part.get('type')!r}; allowed: text, video, image")
    return parts


def text_of(message: Message) -> str:
    """All that a message says."""
    return "".join(part["text"] for part in parts_of(message) if part["type"] == "text")
