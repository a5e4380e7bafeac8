"""The teacher: the base model, experts off, with a night's sampling settings."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sleepmem.config import ProbeConfig
from sleepmem.model.local import LocalModel
from sleepmem.text.prompts import open_book

Chat = Sequence[dict[str, str]]


class Teacher:
    """Writes about memories, and answers from them.

    Args:
        local: the model; its base is the teacher.
        config: how many, how hot, how strict.
        seed: of the sampling and of every choice of the questioning.
    """

    def __init__(self, local: LocalModel, config: ProbeConfig, *, seed: int) -> None:
        self.local, self.config = local, config
        self.rng = random.Random(seed)
        self._seed = seed

    def write(
        self, prompts: str | Sequence[str], memory_lines: Sequence[str], *, tokens: int, salt: int
    ) -> list[str]:
        """One text for each line, sampled; `salt` tells the writings of a night apart.

        `prompts`: the same for all lines, or one for each.
        """
        if isinstance(prompts, str):
            prompts = [prompts] * len(memory_lines)
        chats = []
        for prompt, line in zip(prompts, memory_lines, strict=True):
            chats.append(open_book(prompt, [line]))
        return self.local.answer(
            chats,
            (),
            max_new_tokens=tokens,
            temperature=self.config.temperature or self.local.profile.heat,
            seed=self._seed + salt,
        )

    def reply(self, chats: Sequence[Chat], *, tokens: int = 32) -> list[str]:
        """One answer for each chat, greedy."""
        return self.local.answer(chats, (), max_new_tokens=tokens)
