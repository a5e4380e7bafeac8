"""What a chat template leaves to its caller, found by trying it, and never by a model's name.

Whether it takes a system message, and what it puts between its prompt and an answer: the header of
the turn where it has no generation prompt, the channel of a final answer, the end of a thought.
Knows transformers' tokenizers and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from sleepmem.text.thoughts import closing, end_of_thought, is_opening

Messages = Sequence[dict[str, Any]]

_TOLD, _ASKED, _SAID = "Be kind.", "Hi there.", "Hello."


class Template(NamedTuple):
    """What differs from template to template.

    takes_system  whether it shows a system message; some refuse one, and some leave it out
    opening       what stands between its prompt and the text of an answer
    is_choice     whether a model that has tools chooses between that and the beginning of a call
    """

    takes_system: bool = True
    opening: str = ""
    is_choice: bool = False

    @classmethod
    def tried(cls, tokenizer: Any) -> Template:
        """That of a tokenizer.

        Raises:
            TemplateError: it takes no turn of a user with its answer.
        """
        prompt = _rendered(tokenizer, {"user": _ASKED})
        whole = _rendered(tokenizer, {"user": _ASKED, "assistant": _SAID}, asks=False)
        ending, between = end_of_thought(prompt), ""
        if whole.startswith(prompt) and _SAID in whole:
            between = whole[len(prompt) : whole.index(_SAID, len(prompt))]
        if between.strip():
            asks = _rendered(tokenizer, {"user": _ASKED}, asks=False) != prompt
            return cls(_takes_system(tokenizer), between, asks and not ending)
        return cls(_takes_system(tokenizer), ending)


def thoughts(tokenizer: Any) -> dict[int, str]:
    """By the id of the token that begins a thought: a thought in which nothing is thought."""
    vocabulary = tokenizer.get_added_vocab()
    found = {}
    for token, number in vocabulary.items():
        if is_opening(token) and closing(token) in vocabulary:
            found[number] = f"{token}\n\n{closing(token)}\n\n"
    return found


def in_user_turns(messages: Messages) -> list[dict[str, Any]]:
    """The chat with its system message before the user's first words."""
    first, *others = messages
    if first["role"] != "system":
        return list(messages)
    for place, message in enumerate(others):
        if message["role"] == "user":
            others[place] = {**message, "content": f"{first['content']}\n\n{message['content']}"}
            return others
    return [{**first, "role": "user"}, *others]


def in_turn(messages: Messages) -> list[dict[str, Any]]:
    """The chat in texts alone, user and assistant in turn, the user first: some templates insist.

    What stands next to its like is one turn with it.
    """
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"] if message["role"] in ("system", "assistant") else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{message['content']}"
            continue
        if role == "assistant" and (not turns or turns[-1]["role"] == "system"):
            turns.append({"role": "user", "content": "..."})
        turns.append({"role": role, "content": message["content"]})
    return turns


def _takes_system(tokenizer: Any) -> bool:
    try:
        return _TOLD in _rendered(tokenizer, {"system": _TOLD, "user": _ASKED})
    except TemplateError:
        return False


def _rendered(tokenizer: Any, turns: dict[str, str], *, asks: bool = True) -> str:
    messages = []
    for role, text in turns.items():
        messages.append({"role": role, "content": text})
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=asks, enable_thinking=False
        )
    )
