"""Seven ways to remember a life, on the same model, asked the same.

    none        the model alone
    retrieval   this memory that never sleeps
    sleepmem    this memory, a night after every day
    asked       the same; what it is asked in the evening are questions of its user's
    sft         one LoRA, by plain SFT every night, on the facts that sleepmem's night taught
    sdft        the same by TRL's SDFT
    control     the model with the experts that sleepmem made of another life

Nothing that is asked leaves a trace in a memory, so no night learns from it; but where it is the
user who asks: then the next night does, and later evenings ask the same, mostly in the same words.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sleepmem.config import MemoryConfig
from sleepmem.evals.lives.ask import Asked, Reply
from sleepmem.evals.lives.data import Life
from sleepmem.evals.lives.diary import Diary
from sleepmem.evals.lives.play import play
from sleepmem.evals.lives.taught import Taught
from sleepmem.evals.trainers import EXPERT, by_sdft, by_sft
from sleepmem.evals.week import Say
from sleepmem.memory import SleepMemory
from sleepmem.model.local import LocalModel
from sleepmem.records import NightReport, View
from sleepmem.text.prompts import closed_book

OWNER = ("life",)
_MEMORY, _EXPERT = "memory", "expert"
_TOLD = ("verdict", "reason", "number", "level", "episodes", "evicted", "audited", "returned")


@dataclass(frozen=True)
class Setting:
    """What an arm lives with.

    model   hub id, folder or GGUF file
    config  of memories and nights
    life    that is lived
    other   name of the life whose experts the control has; None without one
    diary   the finished days
    work    a folder for what is not finished
    say     receives progress events
    """

    model: str
    config: MemoryConfig
    life: Life
    other: str | None
    diary: Diary
    work: Path
    say: Say


class Arm:
    """The model alone; the others differ from it. `lived` days are finished before it begins."""

    name = "none"
    # Whether it may have any, whose own answers are asked for and weighed.
    has_experts = False

    def __init__(self, setting: Setting, lived: int) -> None:
        self.setting = setting
        self.local = LocalModel(setting.model, setting.config.model)

    @property
    def live(self) -> tuple[str, ...]:
        """Names of the experts that answer."""
        return ()

    def day(self, number: int) -> dict[str, Any]:
        """Hear a day and spend the night; what there is to say of the night."""
        return {}

    def ask(self, questions: Sequence[Asked], *, day: int) -> list[Reply]:
        """What it answers in the evening of a day."""
        replies = []
        for text in self._closed_book(questions):
            closed = text if self.has_experts else None
            replies.append(Reply(text, bool(self.live), closed=closed))
        return replies

    def keep(self, folder: Path) -> None:
        """Write what it needs to go on after this day."""

    def close(self) -> None:
        """Called at the end, however it ended."""

    def _closed_book(self, questions: Sequence[Asked]) -> list[str]:
        chats = [closed_book(one.text) for one in questions]
        most = self.setting.config.max_new_tokens
        return self.local.answer(chats, self.live, max_new_tokens=most)

    def _before(self, lived: int) -> Path:
        """What it kept after the last finished day."""
        setting = self.setting
        return setting.diary.day(setting.life.name, self.name, number=lived)


class Awake(Arm):
    """A memory that never sleeps."""

    name = "retrieval"
    # Whether what it is asked in the evening counts as asked by its user.
    logs = False

    def __init__(self, setting: Setting, lived: int) -> None:
        self.setting = setting
        folder = setting.work / _MEMORY
        if lived:
            shutil.copytree(self._before(lived) / _MEMORY, folder)
        self.memory = SleepMemory.open(folder, setting.model, config=setting.config)
        self.local = self.memory.local

    @property
    def live(self) -> tuple[str, ...]:
        return self.memory.live_experts(OWNER)

    def day(self, number: int) -> dict[str, Any]:
        play(self.memory, OWNER, life=self.setting.life, day=number)
        return {}

    def ask(self, questions: Sequence[Asked], *, day: int) -> list[Reply]:
        today = self.setting.life.days[day - 1].date
        # What the weights alone say, beside what the memory answers.
        closed: list[str | None] = [None] * len(questions)
        if self.has_experts:
            closed = list(self._closed_book(questions))
        replies = []
        for one, alone in zip(questions, closed, strict=True):
            speaker = one.question.speaker
            answer = self.memory.ask(OWNER, one.text, today=today, speaker=speaker, log=self.logs)
            recalled, tokens = answer.recall, 0
            if recalled.episodes:
                block = self.memory.context(recalled, today=today, speaker=speaker)
                tokens = self.local.count_tokens(block)
            replies.append(Reply(answer.text, recalled.view is View.WEIGHTS, tokens, alone))
        return replies

    def keep(self, folder: Path) -> None:
        self.memory.backup(folder / _MEMORY)

    def close(self) -> None:
        self.memory.close()


class Sleeping(Awake):
    """A memory that sleeps after every day."""

    name = "sleepmem"
    has_experts = True
    _taught: Taught

    def day(self, number: int) -> dict[str, Any]:
        super().day(number)
        report = self.memory.sleep(OWNER, lambda event: self.setting.say({"day": number, **event}))
        self._taught = Taught.by(self.memory, OWNER, report=report)
        return {**_night(report), "pairs": len(self._taught.rows), "steps": self._taught.steps}

    def keep(self, folder: Path) -> None:
        super().keep(folder)
        self._taught.write(folder)


class Questioned(Sleeping):
    """A memory whose user asks it every evening."""

    name = "asked"
    logs = True


class Tuning(Arm):
    """One LoRA that is trained on, night after night, on what sleepmem's nights taught."""

    name = "sft"
    has_experts = True
    # Of 1e-4, 3e-4 and 1e-3 the one that taught SmolLM2 most of twenty facts (docs/lab/
    # 2026-11-30-what-a-reading-of-the-code-found.md); at seeding's 3e-3 prose broke down.
    lr = 1e-3
    _train = staticmethod(by_sft)

    def __init__(self, setting: Setting, lived: int) -> None:
        super().__init__(setting, lived)
        if lived:
            self.local.load_expert(EXPERT, self._before(lived) / _EXPERT)
        else:
            sleep = setting.config.sleep
            self.local.add_expert(EXPERT, sleep.levels[0].rank, seed=sleep.seeding.seed)

    @property
    def live(self) -> tuple[str, ...]:
        return (EXPERT,)

    def day(self, number: int) -> dict[str, Any]:
        setting = self.setting
        taught = Taught.read(setting.diary.day(setting.life.name, Sleeping.name, number=number))
        started = time.perf_counter()
        if taught.rows and taught.steps:
            config = replace(setting.config.sleep.seeding, steps=taught.steps, lr=self.lr)
            self._train(self.local, taught.rows, config=config)
        seconds = round(time.perf_counter() - started, 1)
        return {"seconds": seconds, "pairs": len(taught.rows), "steps": taught.steps}

    def keep(self, folder: Path) -> None:
        self.local.save_expert(EXPERT, folder / _EXPERT)


class TuningOnPolicy(Tuning):
    """The same by SDFT."""

    name = "sdft"
    _train = staticmethod(by_sdft)


class Control(Arm):
    """The model with the experts of another life, as they were that day or at its end."""

    name = "control"
    has_experts = True

    def __init__(self, setting: Setting, lived: int) -> None:
        super().__init__(setting, lived)
        self._live: tuple[str, ...] = ()

    @property
    def live(self) -> tuple[str, ...]:
        return self._live

    def day(self, number: int) -> dict[str, Any]:
        setting = self.setting
        assert setting.other is not None
        number = min(number, setting.diary.lived(setting.other, Sleeping.name))
        folder = setting.diary.day(setting.other, Sleeping.name, number=number) / _MEMORY
        with SleepMemory.open(folder, setting.model, read_only=True) as memory:
            for expert in self._live:
                self.local.drop_expert(expert)
            names = [expert.name for expert in memory.ledger.lineage.experts(OWNER)]
            memory.experts.load(self.local, names)
        self._live = tuple(names)
        return {"experts_of": setting.other, "day": number}


ARMS: dict[str, type[Arm]] = {
    arm.name: arm for arm in (Arm, Awake, Sleeping, Questioned, Tuning, TuningOnPolicy, Control)
}


def let_go(arm: Arm) -> None:
    """Close it, and let go of its model before the next one is loaded."""
    arm.close()
    gc.collect()


def _night(report: NightReport) -> dict[str, Any]:
    """How a night ended and what it cost, with the slower ones after it."""
    fields = report.as_dict()
    told = {name: fields[name] for name in _TOLD}
    exam = {}
    for stage, scores in report.exam.items():
        exam[stage] = {measure: score["rate"] for measure, score in scores.items()}
    return {
        **told,
        "seconds": round(report.seconds, 1),
        "step_seconds": report.step_seconds,
        "tokens_trained": report.tokens_trained,
        "tokens_generated": report.tokens_generated,
        "exam": exam,
        "slower": [_night(slower) for slower in report.slower],
    }
