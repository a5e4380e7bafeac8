"""Notes: what an episode tells, a statement at a time, each clear without the rest.

The teacher draws them sentence by sentence, so that nothing is passed over: every sentence that
tells something has its notes, or is known to have none yet.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode, Kind, Note, Probe
from sleepmem.text.heads import SURELY_ASKS, asks, needs_no_memory
from sleepmem.text.kinds import is_small_talk
from sleepmem.text.language import matches
from sleepmem.text.pieces import sentences
from sleepmem.text.policy import Rule
from sleepmem.text.prompts import NOTES, TOLD, line_of, open_book, quoted
from sleepmem.text.subjects import rare
from sleepmem.text.terms import terms

# Log-odds from which a sentence may be small talk, or about nothing anybody told.
_TELLS_NOTHING = 1.1
# A note of more terms than this times those of its sentence and ten is none.
_LONGEST = 2
# What begins an entry of a list; a number alone may begin a note.
_MARK = re.compile(r"^(?:[-*•]|\d+[.)])\s+")


def draw(teacher: Teacher, episodes: Sequence[Episode], *, kind: str = "") -> list[Note]:
    """The notes of all sentences; one without text where a sentence tells and none was drawn.

    A drawn note is one that the teacher, who reads both, says that the episode tells. `kind`: as in
    the model's profile, which says it where this does not.
    """
    kind = kind or teacher.local.profile.notes
    if kind == "whole":
        return []
    parts = [(episode, part) for episode in episodes for part in sentences(episode.text)]
    if kind == "sentences":
        drawn = ["" if _tells_nothing(part) else part for _, part in parts]
    else:
        chats = [open_book(NOTES + quoted(part), [line_of(one)]) for one, part in parts]
        drawn = teacher.reply(chats, tokens=teacher.config.note_tokens)
    by_part = []
    for (episode, part), text in zip(parts, drawn, strict=True):
        by_part.append([Note(episode.id, line, part) for line in _lines(text, part)])
    if kind == "drawn" and teacher.config.verified:
        told = _told(teacher, [note for found in by_part for note in found], episodes)
        by_part = [[note for note in found if note.id in told] for found in by_part]
    notes: dict[str, Note] = {}
    for (episode, part), found in zip(parts, by_part, strict=True):
        if not found and not _tells_nothing(part):
            found = [Note(episode.id, "", part)]
        for note in found:
            notes.setdefault(note.id, note)
    return list(notes.values())


def gives_none(episode: Episode, *, kind: str) -> bool:
    """Whether it is known before drawing that it has no notes: no sentence that could stand in."""
    return kind == "sentences" and all(_tells_nothing(part) for part in sentences(episode.text))


def _told(teacher: Teacher, notes: Sequence[Note], episodes: Sequence[Episode]) -> set[str]:
    """Ids of the notes that their episodes tell, as the teacher reads them."""
    by_id = {episode.id: line_of(episode) for episode in episodes}
    chats = [open_book(TOLD + note.text, [by_id[note.episode_id]]) for note in notes]
    told = set()
    for note, answer in zip(notes, teacher.reply(chats, tokens=4), strict=True):
        if not matches(answer, "no"):
            told.add(note.id)
    return told


def unit_of(episode: Episode, note: Note) -> Episode:
    """The note as if it had been told alone; a sentence, which stands for one, by whom and to what.

    What was asked is answered first: beside a later sentence it would be read as if that answered
    it. A note that was drawn is clear without them.
    """
    if note.text == note.part:
        is_first = not episode.answers or sentences(note.part)[:1] == sentences(episode.text)[:1]
        answers = episode.answers if is_first else None
        return replace(episode, text=note.text, answers=answers, part_of="")
    return replace(episode, text=note.text, speaker=None, answers=None, part_of="")


class Units:
    """What is questioned: an episode, or each note of it as if it had been told alone.

    Args:
        episodes: what is taught.
        notes: those of them, and of others that stand beside them.
        whole: the model draws none, so what has none is questioned itself; else it tells nothing.
        rule: why a text may not be taught, which a note may have been drawn before.
    """

    def __init__(
        self,
        episodes: Iterable[Episode],
        notes: Iterable[Note],
        *,
        whole: bool = False,
        rule: Callable[[str], Rule | None] = lambda text: None,
    ) -> None:
        self._rule = functools.cache(rule)
        self._episodes = list(episodes)
        self._notes: dict[str, list[Note]] = {}
        for note in notes:
            self._notes.setdefault(note.episode_id, []).append(note)
        self._sources: dict[str, tuple[Episode, Note]] = {}
        # What an expert holds is not asked about again.
        self.all = []
        for unit in self.of(self._episodes):
            drawn = self.note(unit.id)
            is_asked = whole if drawn is None else not drawn.learned_in
            if is_asked:
                self.all.append(unit)

    def of(self, episodes: Iterable[Episode]) -> list[Episode]:
        """The units of these, in their order; of replaced notes none."""
        units = []
        for episode in episodes:
            if episode.id not in self._notes:
                units.append(episode)
                continue
            for note in self._notes[episode.id]:
                if self._is_told(note) and not note.replaced_by:
                    unit = unit_of(episode, note)
                    # What is taught of it came first; an archive may know it as it was said.
                    self._sources.setdefault(unit.id, (episode, note))
                    units.append(unit)
        return units

    @property
    def held(self) -> list[tuple[Episode, Rule]]:
        """The rules for which notes of these are not taught."""
        found = []
        for episode in self._episodes:
            for note in self._notes.get(episode.id, ()):
                rule = self._rule_of(note) if note.text else None
                if rule is not None:
                    found.append((episode, rule))
        return found

    def _is_told(self, note: Note) -> bool:
        return bool(note.text) and self._rule_of(note) is None

    def _rule_of(self, note: Note) -> Rule | None:
        return self._rule(note.text) or self._rule(note.part)

    def asked(self, by_episode: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
        """Questions about episodes, of every unit of them."""
        by_unit = {}
        for unit in self.all:
            episode = self.source(unit.id) or unit
            if episode.id in by_episode:
                by_unit[unit.id] = by_episode[episode.id]
        return by_unit

    def source(self, unit: str) -> Episode | None:
        """The episode that a note was drawn from; None of what is an episode itself."""
        return self._sources[unit][0] if unit in self._sources else None

    def note(self, unit: str) -> Note | None:
        return self._sources[unit][1] if unit in self._sources else None

    def probe(self, probe: Probe) -> Probe:
        """The question, asked about a unit, as one about its episode."""
        if probe.episode_id not in self._sources:
            return probe
        episode, note = self._sources[probe.episode_id]
        context = probe.context
        if probe.kind in (Kind.FACT, Kind.REQUEST):
            context = (line_of(unit_of(episode, note)),)
        return replace(probe, episode_id=episode.id, note_id=note.id, context=context)

    def superseded(
        self, newer_of: Mapping[str, str], *, alone: Callable[[str], bool]
    ) -> dict[str, str]:
        """By episodes: those of which every unit is corrected, each with the newest that does.

        Never one with a sentence that has no note: nothing corrects that, and it must be found.

        Args:
            newer_of: by units that are corrected, the units that do so.
            alone: whether an episode of which there is no note tells one statement.
        """
        episodes: dict[str, str] = {}
        for old, new in newer_of.items():
            episode = self.source(old)
            newer = self.source(new)
            old_id, new_id = episode.id if episode else old, newer.id if newer else new
            whole = self.of([episode]) if episode else []
            untold = [note for note in self._notes.get(old_id, ()) if not self._is_told(note)]
            is_known = bool(whole) or alone(old_id)
            if is_known and not untold and all(unit.id in newer_of for unit in whole):
                episodes[old_id] = new_id
        return episodes

    def replaced(self, newer_of: Mapping[str, str]) -> dict[str, str]:
        """By notes: those that are corrected, each with the note or the episode that does."""
        replaced = {}
        for old, new in newer_of.items():
            note, newer = self.note(old), self.note(new)
            if note:
                replaced[note.id] = newer.id if newer else new
        return replaced


def _lines(text: str, part: str) -> list[str]:
    """The notes in what was written; none where it says that there are none, or goes on and on."""
    most = _LONGEST * len(terms(part)) + 10
    lines = []
    for line in text.splitlines():
        said = _MARK.sub("", line.strip())
        if len(terms(said)) > 1 and len(terms(said)) <= most:
            lines.append(said)
    return list(dict.fromkeys(lines))


def _tells_nothing(part: str) -> bool:
    """Whether the sentence surely asks, or is small talk.

    A model alone takes much for small talk that names something: it counts where the sentence is
    a greeting, too, or has no rare term.
    """
    if asks(part) >= SURELY_ASKS:
        return True
    is_general = needs_no_memory(part) >= _TELLS_NOTHING
    return is_general and (is_small_talk(part) or not rare(part))
