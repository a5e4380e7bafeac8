"""Lives, written by hand: what people tell an agent day after day, and what can be asked then.

The files beside this one are six people or teams. They are for measuring, never for schooling:
nothing of them is taught to a base model. The first evenings of three were looked at while nights
on a real model were made to work (`DEVELOPMENT`); nothing is tuned to the others.
Days count from 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter

Kind = Literal["plain", "changed", "chained", "inverse", "implicit", "never"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# In the order in which they are lived; the farm's is the long one.
NAMES = ("nurse", "backend", "choir", "farm", "retired", "tienda")
DEVELOPMENT = ("nurse", "backend", "choir")
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Tool:
    """A call that the agent made, and what came back."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    args: dict[str, Any]
    result: str


@dataclass(frozen=True)
class Turn:
    """What was said once.

    say      the user's words
    tells    ids of the facts in them
    speaker  who of several people said it
    agent    what the agent had said just before
    tool     what the agent called for it, and `reply` its answer then
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    say: str
    tells: tuple[str, ...] = ()
    speaker: str | None = None
    agent: str | None = None
    tool: Tool | None = None
    reply: str | None = None


@dataclass(frozen=True)
class Day:
    """A date where the user is, and its turns."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    date: date
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Fact:
    """What was told on a day.

    note         it, clear without the rest
    value        the span of the note that matters
    until        last day on which it holds; None: to the end
    replaced_by  id of the fact that corrects it
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    id: str
    note: str
    day: int
    value: str
    until: int | None = None
    replaced_by: str | None = None


@dataclass(frozen=True)
class Question:
    """What can be asked from the evening of a day on.

    asks     wordings
    gold     forms of the answer, of which one suffices; none where nothing tells it
    wrong    what must not be in it
    facts    ids of what it needs
    first    day from whose evening on it can be asked, and `until` the last on which gold holds
    speaker  who of several people asks
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    id: str
    kind: Kind
    asks: tuple[str, ...]
    gold: tuple[str, ...]
    wrong: tuple[str, ...]
    facts: tuple[str, ...]
    first: Annotated[int, Field(alias="from")]
    until: int | None = None
    speaker: str | None = None

    def holds_on(self, day: int) -> bool:
        return self.first <= day and (self.until is None or day <= self.until)


@dataclass(frozen=True)
class Life:
    """A person or team, their days, and all that is asked; `name` is that of the file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    about: str
    language: str
    days: tuple[Day, ...]
    facts: tuple[Fact, ...]
    questions: tuple[Question, ...]

    def asked_on(self, day: int) -> list[Question]:
        """The questions that can be asked in the evening of this day."""
        return [question for question in self.questions if question.holds_on(day)]

    def needed(self, question: Question) -> list[Fact]:
        """The facts that it needs."""
        return [fact for fact in self.facts if fact.id in question.facts]

    def replaced(self, question: Question) -> list[Fact]:
        """What the facts that it needs corrected, at once or one after the other."""
        newer = set(question.facts)
        older: list[Fact] = []
        for fact in reversed(self.facts):
            if fact.replaced_by in newer:
                newer.add(fact.id)
                older.append(fact)
        return older


def load(name: str) -> Life:
    """One of `NAMES`, or any file of this form.

    Raises:
        pydantic.ValidationError: the file has another form.
        OSError: there is none.
    """
    file = Path(__file__).with_name(f"{name}.json") if name in NAMES else Path(name)
    life = TypeAdapter(Life).validate_json(file.read_bytes())
    return replace(life, name=file.stem)
