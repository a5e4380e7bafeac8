"""Live the lives, arm by arm and day by day, from the first day that is not finished."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem.config import MemoryConfig
from sleepmem.evals.lives.arms import ARMS, Arm, Control, Setting, Sleeping, Tuning, let_go
from sleepmem.evals.lives.ask import asked, judged
from sleepmem.evals.lives.data import Life
from sleepmem.evals.lives.diary import Diary
from sleepmem.evals.lives.weights import Scale
from sleepmem.evals.week import Say


@dataclass(frozen=True)
class Plan:
    """What a run is.

    model          hub id, folder or GGUF file
    config         of memories and nights
    lives          that are lived
    arms           names of `ARMS`
    seed           of the wordings
    every_wording  whether each question is asked in all its wordings
    reading        questions that are read from memories with the experts on, after every night
    """

    model: str
    config: MemoryConfig
    lives: tuple[Life, ...]
    arms: tuple[str, ...]
    seed: int = 0
    every_wording: bool = False
    reading: int = 60


def run(plan: Plan, diary: Diary, *, say: Callable[[Life, str], Say]) -> None:
    """Live what is left of the plan.

    Args:
        plan: the run.
        diary: where its finished days are.
        say: gives what receives the progress events of an arm in a life.

    Raises:
        LookupError: an arm needs the nights of another that was not run.
    """
    # A life after the other; the control has what sleepmem made of another, so it comes last.
    arms = [arm for arm in ARMS if arm in plan.arms]
    own = [arm for arm in arms if arm != Control.name]
    for some in (own, arms):
        for life in plan.lives:
            for name in some:
                _live(plan, diary, life=life, arm=name, say=say)


def _live(
    plan: Plan, diary: Diary, *, life: Life, arm: str, say: Callable[[Life, str], Say]
) -> None:
    """The days of a life that are left for one arm."""
    lived = diary.lived(life.name, arm)
    if lived >= len(life.days):
        return
    other = _another(plan, life, diary) if arm == Control.name else None
    _check_nights(diary, life, arm)
    with tempfile.TemporaryDirectory(prefix="sleepmem-lives-") as work:
        setting = Setting(plan.model, plan.config, life, other, diary, Path(work), say(life, arm))
        with _begun(ARMS[arm], setting, lived) as living:
            scale = Scale(living.local, plan.reading)
            for number in range(lived + 1, len(life.days) + 1):
                record = _day(plan, living, number=number, scale=scale)
                diary.finish(record, living.keep, life=life.name, arm=arm)
            setting.say({"day": len(life.days) + 1, "step": "done"})


def _day(plan: Plan, arm: Arm, *, number: int, scale: Scale) -> dict[str, Any]:
    """Live a day, and ask in its evening."""
    life, say = arm.setting.life, arm.setting.say
    say({"day": number, "step": "talk"})
    night = arm.day(number)
    say({"day": number, "step": "ask"})
    questions = asked(life, number, seed=plan.seed, every_wording=plan.every_wording)
    answers = []
    for one, reply in zip(questions, arm.ask(questions, day=number), strict=True):
        answers.append({"arm": arm.name, **judged(life, number, one=one, reply=reply)})
    weights = {}
    if arm.has_experts:
        say({"day": number, "step": "weigh"})
        weights = scale.weigh(arm.live)
    return {
        "life": life.name,
        "arm": arm.name,
        "day": number,
        "days": len(life.days),
        "night": night,
        "weights": weights,
        "answers": answers,
    }


@contextmanager
def _begun(kind: type[Arm], setting: Setting, lived: int) -> Iterator[Arm]:
    arm = kind(setting, lived)
    try:
        yield arm
    finally:
        let_go(arm)


def _another(plan: Plan, life: Life, diary: Diary) -> str:
    """The life after this one, of those whose nights are there."""
    names = [one.name for one in plan.lives]
    place = names.index(life.name)
    for name in [*names[place + 1 :], *names[:place]]:
        if diary.lived(name, Sleeping.name):
            return name
    raise LookupError(
        f"the control of {life.name} needs sleepmem's nights of another life, and there are none. "
        "Run two lives with the arm sleepmem, or leave the control out."
    )


def _check_nights(diary: Diary, life: Life, arm: str) -> None:
    needs = issubclass(ARMS[arm], Tuning)
    if needs and diary.lived(life.name, Sleeping.name) < len(life.days):
        raise LookupError(
            f"{arm} trains on what sleepmem's nights of {life.name} taught, and they are not "
            "finished. Run the arm sleepmem first."
        )


def chosen(lives: Sequence[Life], arms: Sequence[str]) -> tuple[str, ...]:
    """The arms that these lives can have: alone, a life has no other's experts."""
    return tuple(arm for arm in arms if arm != Control.name or len(lives) > 1)
