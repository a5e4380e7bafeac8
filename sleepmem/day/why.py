"""Why an answer is given, and the proof: it is asked again without what it is said to come from.

From the weights: with each live expert switched off in turn, closed-book. With the one that is
named the answer must go, with any other it must stay. From memories in the context: without them.
Writes nothing, logs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sleepmem.day.answer import Answer, ask, reply_to
from sleepmem.day.recall import Asked
from sleepmem.day.state import DayContext
from sleepmem.records import Episode, Namespace, Note, Provenance, Recall, View
from sleepmem.text.kinds import abstains
from sleepmem.text.language import words

if TYPE_CHECKING:
    from sleepmem.day.chat import SleepChatModel
    from sleepmem.stores.ledger import Ledger

# What is left out of an answer that was read.
MEMORIES = "memories"


@dataclass(frozen=True, slots=True)
class Ablation:
    """What is answered `without` an expert, by its name, or without "memories" in the context.

    `stays` says whether that is the same answer.
    """

    without: str
    answer: str
    stays: bool


@dataclass(frozen=True, slots=True)
class Why:
    """Why a question is answered as it is.

    question, answer  as they are asked and given
    recall            the gate's decision
    provenance        where the answer came from; None when no memory was used
    known             the known question that the gate went by
    episodes, notes   what stood in the context, or taught the weights, oldest first
    ablations         what is answered without it, and without each other expert
    proven            whether the answer goes with what it is said to come from, and only with that
    """

    question: str
    answer: str
    recall: Recall
    provenance: Provenance | None
    known: str
    episodes: tuple[Episode, ...]
    notes: tuple[Note, ...]
    ablations: tuple[Ablation, ...]
    proven: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """Other experts without which the answer goes, too: those that the named one builds on."""
        named = self.provenance.expert if self.provenance else ""
        gone = [one.without for one in self.ablations if not one.stays]
        return tuple(name for name in gone if name not in (named, MEMORIES))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON, with the texts."""
        told = [{"id": one.id, "day": one.date, "text": one.text} for one in self.episodes]
        notes = []
        for note in self.notes:
            notes.append({"id": note.id, "episode": note.episode_id, "text": note.text})
        ablations = []
        for one in self.ablations:
            ablations.append({"without": one.without, "answer": one.answer, "stays": one.stays})
        return {
            "question": self.question,
            "answer": self.answer,
            "view": self.recall.view.value,
            "reason": self.recall.reason,
            "provenance": self.provenance.as_dict() if self.provenance else None,
            "known": self.known,
            "episodes": told,
            "notes": notes,
            "ablations": ablations,
            "needs": list(self.needs),
            "proven": self.proven,
        }


def why(day: DayContext, namespace: Namespace, *, asked: Asked, model: SleepChatModel) -> Why:
    """Answer as `ask` does, then ask again without what the answer came from.

    Raises:
        ExpertError: the files of an expert are missing or damaged.
    """
    answered = ask(day, namespace, asked=asked, model=model, log=False)
    ablations = _ablations(namespace, asked, answered=answered, model=model)
    ledger, traced = day.folder.ledger, answered.provenance
    known = ledger.nights.questions([traced.known]) if traced else {}
    episodes, notes = _told(ledger, namespace, traced)
    return Why(
        asked.text,
        answered.text,
        answered.recall,
        traced,
        known.get(traced.known, "") if traced else "",
        episodes,
        notes,
        ablations,
        _is_proven(answered, ablations),
    )


def _ablations(
    namespace: Namespace, asked: Asked, *, answered: Answer, model: SleepChatModel
) -> tuple[Ablation, ...]:
    """The answers without each part that this one may have come from."""
    recalled = answered.recall
    if recalled.view is View.RETRIEVAL:
        alone = reply_to(model, asked, recalled=Recall(View.BASE, "")).text
        return (Ablation(MEMORIES, alone, _is_same(alone, answered.text)),)
    ablations = []
    for name in model.live(namespace) if recalled.view is View.WEIGHTS else ():
        others = _with(model, [one for one in model.live(namespace) if one != name])
        reply = reply_to(others, asked, recalled=recalled).text
        ablations.append(Ablation(name, reply, _is_same(reply, answered.text)))
    return tuple(ablations)


def _with(model: SleepChatModel, experts: Sequence[str]) -> SleepChatModel:
    """The model with these experts on."""
    return model.model_copy(update={"live": lambda namespace: tuple(experts)})


def _is_proven(answered: Answer, ablations: Sequence[Ablation]) -> bool:
    """Whether the answer goes with what is named, and stays without anything else."""
    traced = answered.provenance
    if traced is None or abstains(answered.text):
        return False
    named = traced.expert if traced.view is View.WEIGHTS else MEMORIES
    is_gone = False
    for one in ablations:
        if one.without == named:
            is_gone = not one.stays
        elif not one.stays:
            return False
    return is_gone


def _is_same(some: str, other: str) -> bool:
    """Whether two answers are the same words."""
    return some.strip() == other.strip() or (words(some) or None) == words(other)


def _told(
    ledger: Ledger, namespace: Namespace, traced: Provenance | None
) -> tuple[tuple[Episode, ...], tuple[Note, ...]]:
    """The episodes and notes that are cited."""
    cited = traced.citations if traced else ()
    ids, note_ids = [one.episode for one in cited], {one.note for one in cited}
    found = ledger.episodes.holding(namespace, ids, repeated=True)
    episodes = [episode for episode, _ in found.values()]
    notes = [note for note in ledger.notes.of(namespace, ids) if note.id in note_ids]
    return tuple(sorted(episodes, key=lambda one: one.age_key)), tuple(notes)
