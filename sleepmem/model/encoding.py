"""Text as token ids: only a chat template writes control tokens.

What a text spells like one (`<|end|>`, `</s>`, `[INST]`, of whatever tokenizer) is encoded as text.
Knows transformers, whose `sanitize_control_tokens` does it for a chat; holds it for tokenizers that
read control tokens where nobody wrote any: they normalise a text, or have them as words. A chat
that a template refuses is brought into turns that it takes.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from jinja2 import TemplateError

from sleepmem.errors import ModelError
from sleepmem.model import templates
from sleepmem.model.templates import Template

Messages = Sequence[dict[str, Any]]
Tools = Sequence[dict[str, Any]]

_PLAIN = Template()


class Encoding:
    """The ids of texts and chats. Safe to share between threads.

    Args:
        tokenizer: with a chat template; nobody else encodes with it meanwhile.
        template: what is known of its chat template.
    """

    def __init__(self, tokenizer: Any, template: Template = _PLAIN) -> None:
        self._tokenizer, self.template = tokenizer, template
        self._opening = self._read(template.opening)
        added = dict(tokenizer.added_tokens_decoder)
        # What stands for any unknown word controls nothing.
        added.pop(tokenizer.unk_token_id, None)
        self._control_ids = frozenset(one for one, token in added.items() if token.special)
        contents = [token.content for token in added.values()]
        # A normalised text spells them normalised.
        spellings = {*contents, *map(self._normal, contents)}
        longest_first = sorted(filter(str.strip, spellings), key=len, reverse=True)
        self._spelt = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._written: dict[tuple[str, ...], Counter[int]] = {}
        # How a tokenizer takes special tokens is a state that its callers share.
        self._lock = threading.Lock()

    def chat(self, messages: Messages, tools: Tools = (), *, may_call: bool = False) -> list[int]:
        """A chat up to where the assistant speaks.

        A system message that the template does not take stands in the user's first turn.

        Args:
            may_call: whether the answer may begin with the call of a tool.

        Raises:
            ModelError: the template does not take the chat.
        """
        if messages and not self.template.takes_system:
            messages = templates.in_user_turns(messages)
        try:
            ids = self._chat(messages, tools)
        except TemplateError as error:
            has_calls = tools or any("tool_calls" in message for message in messages)
            ids = [] if has_calls else self._in_turn(messages)
            if not ids:
                raise ModelError(
                    f"the model's chat template does not take this conversation ({error}). Leave "
                    "tools out, or name a file with another (ModelConfig.chat_template)."
                ) from error
        return ids if may_call and self.template.is_choice else [*ids, *self._opening]

    def _in_turn(self, messages: Messages) -> list[int]:
        """The chat, user and assistant in turn; nothing where the template refuses it, too."""
        with suppress(TemplateError):
            return self._chat(templates.in_turn(messages), ())
        return []

    def _chat(self, messages: Messages, tools: Tools) -> list[int]:
        with self._lock:
            try:
                ids = self._applied(messages, tools)
            except ValueError:  # transformers has no text for what is a word of the tokenizer
                ids = []
            if self._controls(ids) != self._by_template(messages, tools):
                ids = self._applied(self._apart(messages), self._apart(tools), sanitize=False)
            return ids

    def opening(self, tag: str, text: str) -> list[int]:
        """What an answer is made to begin with: a tag of the format, then text."""
        with self._lock:
            encoded = self._read(tag)
        return [*encoded, *self.text(text)]

    def text(self, text: str) -> list[int]:
        """A text alone, without any control token."""
        with self._lock:
            ids = self._plain(text)
            return ids if self._control_ids.isdisjoint(ids) else self._plain(self._apart_in(text))

    def _by_template(self, messages: Messages, tools: Tools) -> Counter[int]:
        """The control tokens of the template alone, how often each."""
        if tools or any(message.keys() != {"role", "content"} for message in messages):
            apart = self._applied(self._apart(messages), self._apart(tools), sanitize=False)
            return self._controls(apart)
        roles = tuple(message["role"] for message in messages)
        if roles not in self._written:
            plain = [{"role": role, "content": "a"} for role in roles]
            self._written[roles] = self._controls(self._applied(plain))
        return self._written[roles]

    def _applied(
        self, messages: Messages, tools: Tools = (), *, sanitize: bool = True
    ) -> list[int]:
        ids: list[int] = self._tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) or None,
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=sanitize,
            enable_thinking=False,
        )
        return ids

    def _read(self, written: str) -> list[int]:
        """What a format writes, its control tokens among it."""
        encoded = self._tokenizer(written, add_special_tokens=False)
        return list(encoded["input_ids"])

    def _plain(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        ids: list[int] = encoded["input_ids"]
        return ids

    def _controls(self, ids: Sequence[int]) -> Counter[int]:
        return Counter(one for one in ids if one in self._control_ids)

    def _apart(self, value: Any) -> Any:
        """The same, every text in it with its control tokens apart, names of fields too."""
        if isinstance(value, str):
            return self._apart_in(value)
        if isinstance(value, dict):
            return {self._apart(name): self._apart(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._apart(one) for one in value]
        return value

    def _apart_in(self, text: str) -> str:
        """The text, the letters apart of what it spells like a control token."""
        normal = self._normal(text)
        if not self._spelt.search(normal):
            return self._spelt.sub(_letters_apart, text)
        return self._spelt.sub(_letters_apart, normal)

    def _normal(self, text: str) -> str:
        """As the tokenizer normalises it before it looks for its tokens."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        normalizer = getattr(backend, "normalizer", None)
        return str(normalizer.normalize_str(text)) if normalizer else text


def _letters_apart(token: re.Match[str]) -> str:
    return " ".join(token[0]) if len(token[0]) > 1 else " "
